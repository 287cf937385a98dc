//! Queries as people ask them: a few filters that go together, with or without words.

use std::sync::Arc;

use guildhall_protocol::manifest::Kind;
use guildhall_protocol::query::{Query, TypeQuery};

use super::random::Random;
use super::tasks::Flow;
use super::{World, kind};

/// Makes queries without end. As an iterator, half have words beside the filters.
#[derive(Debug)]
pub struct Queries {
    random: Random,
    world: Arc<World>,
}

impl Queries {
    pub(super) const fn new(random: Random, world: Arc<World>) -> Self {
        Self { random, world }
    }

    /// A query of three filters: kind, category, and a type or a bound.
    pub fn facets(&mut self) -> Query {
        let random = &mut self.random;
        let kind = kind(random);
        let task = &self.world.tasks[self.world.task_ranks.draw(random)];
        let query = Query {
            kind: Some(kind),
            category: Some(task.category.clone().into()),
            ..Query::default()
        };
        let measured = matches!(kind, Kind::Model | Kind::Pipeline);
        match random.below(if measured { 5 } else { 2 }) {
            0 if !matches!(kind, Kind::Data | Kind::Notebook) => {
                Query { input: Some(asked(random, task.input)), ..query }
            }
            1 if measured => Query { output: Some(asked(random, task.output)), ..query },
            1 if kind == Kind::Data => Query { output: Some(asked(random, task.input)), ..query },
            2 => Query { max_latency_ms: Some(random.one(&[10.0, 50.0, 100.0, 1e3])), ..query },
            3 => Query { min_accuracy: Some(random.one(&[0.7, 0.8, 0.9, 0.95])), ..query },
            _ => {
                let max_memory_bytes = 1_u64 << random.between(28, 34);
                Query { max_memory_bytes: Some(max_memory_bytes), ..query }
            }
        }
    }

    /// A query of three filters and one to three words.
    pub fn words(&mut self) -> Query {
        let facets = self.facets();
        let mut text = String::new();
        for _ in 0..self.random.between(1, 3) {
            text.push_str(self.world.words.draw(&mut self.random));
            text.push(' ');
        }
        text.pop();
        Query { text: Some(text), ..facets }
    }
}

impl Iterator for Queries {
    type Item = Query;

    fn next(&mut self) -> Option<Query> {
        Some(if self.random.chance(0.5) { self.facets() } else { self.words() })
    }
}

/// The type as a person asks for it: a family, or one of its media types.
fn asked(random: &mut Random, flow: Flow) -> TypeQuery {
    let media_types = flow.media_types();
    let written = if media_types.is_empty() || random.chance(0.5) {
        flow.family()
    } else {
        random.one(media_types)
    };
    written.parse().expect("families and media types are types")
}
