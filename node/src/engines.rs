//! What this machine executes code with: the engines built in, and onnxruntime where its library is found or named.
//!
//! A graph whose manifest asks for nothing runs in either. A node with the library uses it, unless the contract promises
//! the same bits everywhere: the engine built in is the same on every node, libraries are not.

use std::path::Path;

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::manifest::{Manifest, ONNX, ONNXRUNTIME};
use guildhall_sandbox::{EngineInfo, LibraryProblem, OnnxRuntime, Spawner};
use tracing::warn;

/// Names the library, or switches it off, where neither a flag nor `config.toml` does.
pub(crate) const LIBRARY_ENV: &str = "GUILD_ONNXRUNTIME";

/// What is said instead of a path to use no library, whatever is found.
pub(crate) const LIBRARY_OFF: &str = "off";

/// The engines of this machine.
#[derive(Debug)]
pub(crate) struct Engines {
    spawner: Spawner,
    found: Vec<EngineInfo>,
}

impl Engines {
    /// Looks for the library where `choice` says, else in the usual places, and tries it out in a worker. One that was
    /// named and does not work is an error; one that was only found is left alone with a warning. Blocks.
    pub(crate) fn find(choice: Option<&str>) -> Result<Self, LibraryProblem> {
        let spawner = spawner();
        let library = match choice {
            Some(LIBRARY_OFF) => None,
            Some(path) => Some(OnnxRuntime::at(Path::new(path))?),
            None => OnnxRuntime::find(),
        };
        let spawner = spawner.with_onnxruntime(library);
        let guildhall_sandbox::Engines { engines, problem } = spawner.engines();
        match problem {
            None => Ok(Self { spawner, found: engines }),
            Some(problem) if choice.is_some() => Err(problem),
            Some(problem) => {
                warn!(%problem, "graphs run in the engine built in");
                Ok(Self { spawner: spawner.with_onnxruntime(None), found: engines })
            }
        }
    }

    /// Starts workers; those for graphs use the library.
    pub(crate) fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// Names to advertise.
    pub(crate) fn names(&self) -> Vec<String> {
        self.found.iter().flat_map(EngineInfo::names).collect()
    }

    /// Name and version, as a receipt states them.
    pub(crate) fn versioned(&self, name: &str) -> String {
        let found = self.found.iter().find(|engine| engine.name == name);
        format!("{name}/{}", found.map_or("unknown", |engine| engine.version.as_str()))
    }

    /// The engine for a stage that needs `asked`, among those that are `lent` to whom it is for.
    pub(crate) fn choose(&self, asked: &str, determinism: Determinism, lent: &[String]) -> String {
        let is_here = self.found.iter().any(|engine| engine.name == ONNXRUNTIME);
        let is_lent = lent.iter().any(|name| name == ONNXRUNTIME);
        let may_differ = determinism != Determinism::Bitwise;
        match asked == ONNX && is_here && is_lent && may_differ {
            true => ONNXRUNTIME.to_owned(),
            false => asked.to_owned(),
        }
    }

    /// Starts workers that try a package out before it is published: in the engine that every node has, unless it asks
    /// for another.
    pub(crate) fn trying(&self, manifest: &Manifest) -> Spawner {
        trying(self.spawner.clone(), manifest)
    }
}

/// Starts workers with the engines built in.
pub(crate) fn spawner() -> Spawner {
    Spawner::this_program(["worker".into()])
}

/// As [`Engines::trying`], for a program that is no node: the library is looked for only when it is needed. Blocks.
pub(crate) fn spawner_trying(manifest: &Manifest) -> Result<Spawner, LibraryProblem> {
    if !needs_library(manifest) {
        return Ok(spawner());
    }
    let choice = std::env::var(LIBRARY_ENV).ok();
    Engines::find(choice.as_deref()).map(|engines| engines.spawner)
}

fn trying(spawner: Spawner, manifest: &Manifest) -> Spawner {
    match needs_library(manifest) {
        true => spawner,
        false => spawner.with_onnxruntime(None),
    }
}

fn needs_library(manifest: &Manifest) -> bool {
    manifest.code.as_ref().is_some_and(|code| code.engines().contains(&ONNXRUNTIME))
}
