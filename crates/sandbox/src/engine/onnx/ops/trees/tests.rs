//! Trees against a reference that follows the text of the specification, and trees that are none.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto};

use super::*;

/// splitmix64: the same numbers for each seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of few values, so that thresholds are met exactly too; now and then none.
    fn value(&mut self) -> f32 {
        match self.below(12) {
            0 => f32::NAN,
            1 => f32::INFINITY,
            at => (at as f32 - 6.0) / 2.0,
        }
    }
}

#[derive(Default)]
struct Lists {
    trees: Vec<i64>,
    ids: Vec<i64>,
    features: Vec<i64>,
    values: Vec<f32>,
    modes: Vec<&'static str>,
    yes: Vec<i64>,
    no: Vec<i64>,
    missing: Vec<i64>,
    leaf_trees: Vec<i64>,
    leaf_ids: Vec<i64>,
    targets: Vec<i64>,
    weights: Vec<f32>,
}

const MODES: [&str; 6] =
    ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"];

impl Lists {
    /// Trees of random shape. `modes` is how many of [`MODES`] occur.
    fn random(random: &mut Random, trees: i64, targets: u64, modes: u64, depth: u64) -> Self {
        let mut lists = Self::default();
        for tree in 0..trees {
            lists.grow(random, tree, targets, modes, depth);
        }
        lists
    }

    fn grow(
        &mut self,
        random: &mut Random,
        tree: i64,
        targets: u64,
        modes: u64,
        depth: u64,
    ) -> i64 {
        let at = self.ids.len();
        let id = at as i64 * 3 + 1;
        let is_leaf = depth == 0 || random.below(5) == 0;
        self.trees.push(tree);
        self.ids.push(id);
        self.features.push(random.below(4) as i64);
        self.values.push((random.below(10) as f32 - 5.0) / 2.0);
        self.modes.push(if is_leaf { "LEAF" } else { MODES[random.below(modes) as usize] });
        self.missing.push(random.below(2) as i64);
        self.yes.push(0);
        self.no.push(0);
        if is_leaf {
            for _ in 0..=random.below(2) {
                self.leaf_trees.push(tree);
                self.leaf_ids.push(id);
                self.targets.push(random.below(targets) as i64);
                self.weights.push(random.below(100) as f32 / 8.0 - 6.0);
            }
        } else {
            self.yes[at] = self.grow(random, tree, targets, modes, depth - 1);
            self.no[at] = self.grow(random, tree, targets, modes, depth - 1);
        }
        id
    }

    fn node(&self, operator: &str, leaf: &str) -> NodeProto {
        NodeProto {
            op_type: operator.to_owned(),
            input: vec!["x".into()],
            output: vec!["y".into()],
            attribute: vec![
                ints("nodes_treeids", &self.trees),
                ints("nodes_nodeids", &self.ids),
                ints("nodes_featureids", &self.features),
                floats_of("nodes_values", &self.values),
                strings("nodes_modes", &self.modes),
                ints("nodes_truenodeids", &self.yes),
                ints("nodes_falsenodeids", &self.no),
                ints("nodes_missing_value_tracks_true", &self.missing),
                ints(&format!("{leaf}_treeids"), &self.leaf_trees),
                ints(&format!("{leaf}_nodeids"), &self.leaf_ids),
                ints(&format!("{leaf}_ids"), &self.targets),
                floats_of(&format!("{leaf}_weights"), &self.weights),
            ],
            ..NodeProto::default()
        }
    }

    /// Follows one tree as the specification says it.
    fn leaf(&self, tree: i64, row: &[f32]) -> i64 {
        let place = |id: i64| {
            (0..self.ids.len()).find(|at| self.trees[*at] == tree && self.ids[*at] == id).unwrap()
        };
        let mut at = self.trees.iter().position(|found| *found == tree).unwrap();
        while self.modes[at] != "LEAF" {
            let (x, value) = (row[self.features[at] as usize], self.values[at]);
            let is_yes = match self.modes[at] {
                "BRANCH_LEQ" => x <= value,
                "BRANCH_LT" => x < value,
                "BRANCH_GTE" => x >= value,
                "BRANCH_GT" => x > value,
                "BRANCH_EQ" => x == value,
                _ => x != value,
            };
            let is_yes = is_yes || x.is_nan() && self.missing[at] == 1;
            at = place(if is_yes { self.yes[at] } else { self.no[at] });
        }
        self.ids[at]
    }

    fn reference(&self, trees: i64, targets: usize, row: &[f32], aggregate: &str) -> Vec<f64> {
        let mut sums: Vec<Option<f64>> = vec![None; targets];
        for tree in 0..trees {
            let leaf = self.leaf(tree, row);
            for at in 0..self.weights.len() {
                if self.leaf_trees[at] == tree && self.leaf_ids[at] == leaf {
                    let (sum, weight) =
                        (&mut sums[self.targets[at] as usize], f64::from(self.weights[at]));
                    *sum = Some(match (*sum, aggregate) {
                        (None, _) => weight,
                        (Some(sum), "MIN") => sum.min(weight),
                        (Some(sum), "MAX") => sum.max(weight),
                        (Some(sum), _) => sum + weight,
                    });
                }
            }
        }
        let part = if aggregate == "AVERAGE" { trees as f64 } else { 1.0 };
        sums.into_iter().map(|sum| sum.unwrap_or_default() / part).collect()
    }
}

fn attribute(name: &str, r#type: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: r#type as i32, ..AttributeProto::default() }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeType::Int) }
}

fn floats_of(name: &str, floats: &[f32]) -> AttributeProto {
    AttributeProto { floats: floats.to_vec(), ..attribute(name, AttributeType::Floats) }
}

fn strings(name: &str, texts: &[&str]) -> AttributeProto {
    let strings = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    AttributeProto { strings, ..attribute(name, AttributeType::Strings) }
}

fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto { s: text.as_bytes().to_vec(), ..attribute(name, AttributeType::String) }
}

fn build<K: Kernel>(node: &NodeProto) -> TractResult<K> {
    let (framework, model) = (tract_onnx::onnx(), ModelProto::default());
    let ctx = ParsingContext {
        onnx_operator_set_version: 18,
        framework: &framework,
        model: &model,
        parent_graphs: Vec::new(),
        model_dir: None,
        template: InferenceModel::default(),
    };
    K::build(&ctx, node)
}

fn regressor(lists: &Lists, targets: i64, aggregate: &str) -> TractResult<Regressor> {
    let mut node = lists.node("TreeEnsembleRegressor", "target");
    node.attribute.extend([int("n_targets", targets), text("aggregate_function", aggregate)]);
    build(&node)
}

/// The widest and the narrowest ways through the forest: one row and many, one mode and all, missing values or none.
#[test]
fn forests_of_every_kind_give_what_the_specification_says() {
    let mut random = Random(5);
    for round in 0..120 {
        let (trees, targets) = (1 + random.below(20) as i64, 1 + random.below(4));
        let modes = [1, 2, 6][round % 3];
        let depth = random.below(7);
        let mut lists = Lists::random(&mut random, trees, targets, modes, depth);
        if round % 2 == 0 {
            lists.missing.fill(0);
        }
        let aggregate = ["SUM", "AVERAGE", "MIN", "MAX"][random.below(4) as usize];
        let kernel = regressor(&lists, targets as i64, aggregate).unwrap();
        let rows = [1, 2, 7, 8, 9, 64, 200][random.below(7) as usize];
        let values: Vec<f32> = (0..rows * 4).map(|_| random.value()).collect();
        let single = Tensor::from_shape(&[rows, 4], &values).unwrap();
        let double = single.cast_to::<f64>().unwrap().into_owned();
        for input in [&single, &double] {
            let found = kernel.eval(&[input]).unwrap().remove(0);
            let found = slice::<f32>(&found).unwrap();
            for (row, found) in values.chunks(4).zip(found.chunks(targets as usize)) {
                let wanted = lists.reference(trees, targets as usize, row, aggregate);
                for (found, wanted) in found.iter().zip(wanted) {
                    let near = (f64::from(*found) - wanted).abs() < 1e-4;
                    assert!(near, "round {round}: {found} for {wanted}, {row:?}");
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others() {
    let mut random = Random(6);
    let lists = Lists::random(&mut random, 30, 3, 1, 6);
    let kernel = regressor(&lists, 3, "SUM").unwrap();
    let values: Vec<f32> = (0..100 * 4).map(|_| random.value()).collect();
    let all = kernel.eval(&[&Tensor::from_shape(&[100, 4], &values).unwrap()]).unwrap().remove(0);
    for (at, row) in values.chunks(4).enumerate() {
        let one = kernel.eval(&[&Tensor::from_shape(&[1, 4], row).unwrap()]).unwrap().remove(0);
        assert_eq!(one, all.slice(0, at, at + 1).unwrap());
    }
}

/// A stump: at 0 one question, yes to 1, no to 2.
fn stump() -> Lists {
    Lists {
        trees: vec![0; 3],
        ids: vec![0, 1, 2],
        features: vec![0; 3],
        values: vec![0.0; 3],
        modes: vec!["BRANCH_LEQ", "LEAF", "LEAF"],
        yes: vec![1, 0, 0],
        no: vec![2, 0, 0],
        missing: vec![0; 3],
        leaf_trees: vec![0; 2],
        leaf_ids: vec![1, 2],
        targets: vec![0; 2],
        weights: vec![1.0, 2.0],
    }
}

#[test]
fn trees_that_are_none_are_refused_with_a_reason() {
    let refused = |change: &dyn Fn(&mut Lists)| {
        let mut lists = stump();
        change(&mut lists);
        format!("{:#}", regressor(&lists, 1, "SUM").unwrap_err())
    };
    assert!(regressor(&stump(), 1, "SUM").is_ok());
    assert!(refused(&|l| l.yes[0] = 7).contains("node 7 that is not there"));
    assert!(refused(&|l| l.yes[0] = 0).contains("circle"));
    assert!(refused(&|l| l.no[0] = 1).contains("no tree"));
    assert!(refused(&|l| l.ids[2] = 1).contains("two nodes 1"));
    assert!(refused(&|l| l.features[0] = -1).contains("no feature -1"));
    assert!(refused(&|l| l.features[0] = i64::MAX).contains("no feature"));
    assert!(refused(&|l| l.targets[0] = 1).contains("1 of 1 targets"));
    assert!(refused(&|l| l.leaf_ids[0] = 9).contains("weights for no node"));
    assert!(refused(&|l| l.modes[0] = "BRANCH_ODD").contains("BRANCH_ODD"));
    assert!(refused(&|l| l.values.truncate(2)).contains("nodes_values has 2 of 3"));
    assert!(refused(&|l| l.missing.truncate(2)).contains("2 of 3"));
    assert!(refused(&|l| l.trees[2] = 1).contains("not there"));
    for targets in [0, -1, i64::MAX] {
        assert!(regressor(&stump(), targets, "SUM").is_err());
    }
    let node = NodeProto { op_type: "TreeEnsembleRegressor".into(), ..NodeProto::default() };
    assert!(build::<Regressor>(&node).is_err() && build::<Ensemble>(&node).is_err());
    assert!(build::<Classifier>(&node).is_err());
}

#[test]
fn circles_and_endless_depths_are_refused() {
    // Two nodes that lead to each other, beside a stump of the same tree: reached from nowhere.
    let mut lists = stump();
    lists.trees.extend([0, 0, 0, 0]);
    lists.ids.extend([3, 4, 5, 6]);
    lists.features.extend([0; 4]);
    lists.values.extend([0.0; 4]);
    lists.modes.extend(["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF"]);
    lists.yes.extend([4, 3, 0, 0]);
    lists.no.extend([5, 6, 0, 0]);
    lists.missing.extend([0; 4]);
    let why = format!("{:#}", regressor(&lists, 1, "SUM").unwrap_err());
    assert!(why.contains("circle"), "{why}");
    // A chain of 5,000 questions: each leads to a leaf and to the next.
    let mut chain = Lists::default();
    for at in 0..5_000 {
        chain.ids.extend([2 * at, 2 * at + 1]);
        chain.modes.extend(["BRANCH_LEQ", "LEAF"]);
        chain.yes.extend([2 * at + 2, 0]);
        chain.no.extend([2 * at + 1, 0]);
    }
    chain.ids.push(10_000);
    chain.modes.push("LEAF");
    chain.yes.push(0);
    chain.no.push(0);
    let count = chain.ids.len();
    chain.trees = vec![0; count];
    chain.features = vec![0; count];
    chain.values = vec![0.0; count];
    chain.missing = vec![0; count];
    let why = format!("{:#}", regressor(&chain, 1, "SUM").unwrap_err());
    assert!(why.contains("deeper"), "{why}");
}

#[test]
fn rows_of_too_few_features_are_an_error() {
    let mut lists = stump();
    lists.features[0] = 3;
    let kernel = regressor(&lists, 1, "SUM").unwrap();
    let row = |columns: usize| Tensor::from_shape(&[1, columns], &vec![0.0_f32; columns]).unwrap();
    assert!(kernel.eval(&[&row(3)]).is_err());
    assert!(kernel.eval(&[&row(4)]).is_ok());
    assert!(kernel.eval(&[&Tensor::zero::<f32>(&[1, 1, 4]).unwrap()]).is_err());
    assert!(kernel.eval(&[]).is_err());
}
