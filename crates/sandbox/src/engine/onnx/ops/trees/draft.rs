//! Trees as nodes of a graph describe them, checked: each is a tree, with one root, without circles.

use std::collections::HashMap;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::*;

use super::super::rows::slice;

/// Most nodes of all trees together: they are counted in 31 bits, and this many take 512 MiB.
const NODES_MAX: usize = 1 << 25;

/// Most classes or targets; as many as a port has labels, and then some.
pub(super) const TARGETS_MAX: usize = 1 << 16;

/// What an inner node asks of its feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Test {
    AtMost = 0,
    Less = 1,
    AtLeast = 2,
    More = 3,
    Equal = 4,
    NotEqual = 5,
    Member = 6,
}

impl Test {
    /// By the name that the older operators use; a leaf has none.
    fn from_name(name: &[u8]) -> TractResult<Option<Self>> {
        Ok(Some(match name {
            b"LEAF" => return Ok(None),
            b"BRANCH_LEQ" => Self::AtMost,
            b"BRANCH_LT" => Self::Less,
            b"BRANCH_GTE" => Self::AtLeast,
            b"BRANCH_GT" => Self::More,
            b"BRANCH_EQ" => Self::Equal,
            b"BRANCH_NEQ" => Self::NotEqual,
            other => bail!("no mode is named `{}`", String::from_utf8_lossy(other)),
        }))
    }

    fn from_number(number: u8) -> TractResult<Self> {
        Ok(match number {
            0 => Self::AtMost,
            1 => Self::Less,
            2 => Self::AtLeast,
            3 => Self::More,
            4 => Self::Equal,
            5 => Self::NotEqual,
            6 => Self::Member,
            other => bail!("no mode has the number {other}"),
        })
    }
}

/// A node of a tree.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draft {
    Inner {
        feature: u32,
        /// Threshold, or for [`Test::Member`] which of the sets.
        value: f64,
        test: Test,
        /// Where a missing value leads.
        missing_is_yes: bool,
        yes: usize,
        no: usize,
    },
    Leaf {
        /// Its weights begin here.
        start: usize,
        count: usize,
    },
}

/// All trees of an operator.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    pub(super) roots: Vec<usize>,
    pub(super) nodes: Vec<Draft>,
    /// Class or target, and what the leaf adds to it.
    pub(super) weights: Vec<(u32, f64)>,
    pub(super) sets: Vec<Vec<f64>>,
    /// Thresholds need double precision.
    pub(super) is_double: bool,
}

/// Numbers in an attribute of floats, or in its twin that holds a tensor; whether they are doubles.
pub(super) fn numbers(
    ctx: &ParsingContext<'_>,
    node: &NodeProto,
    name: &str,
) -> TractResult<Option<(Vec<f64>, bool)>> {
    if let Some(tensor) = node.get_attr_opt::<&TensorProto>(&format!("{name}_as_tensor"))? {
        return tensor_numbers(ctx, tensor).map(Some);
    }
    let floats = node.get_attr_opt_slice::<f32>(name)?;
    Ok(floats.map(|floats| (floats.iter().copied().map(f64::from).collect(), false)))
}

fn tensor_numbers(ctx: &ParsingContext<'_>, tensor: &TensorProto) -> TractResult<(Vec<f64>, bool)> {
    let tensor = ctx.load_tensor(tensor)?;
    let is_double = tensor.datum_type() == DatumType::F64;
    if !tensor.datum_type().is_float() {
        bail!("{:?} where numbers with a fraction belong", tensor.datum_type());
    }
    Ok((slice::<f64>(&*tensor.cast_to::<f64>()?)?.to_vec(), is_double))
}

/// Checks that a list has one entry for each of `count` things.
fn same_len<'a, T>(name: &str, list: &'a [T], count: usize) -> TractResult<&'a [T]> {
    if list.len() == count { Ok(list) } else { bail!("{name} has {} of {count}", list.len()) }
}

fn ints<'a>(node: &'a NodeProto, name: &str, count: usize) -> TractResult<&'a [i64]> {
    same_len(name, node.get_attr_slice::<i64>(name)?, count)
}

impl Drafts {
    /// Reads `TreeEnsembleClassifier` (`leaf` is `class`) and `TreeEnsembleRegressor` (`target`).
    pub(super) fn named(
        ctx: &ParsingContext<'_>,
        node: &NodeProto,
        leaf: &str,
        targets: usize,
    ) -> TractResult<Self> {
        let trees = node.get_attr_slice::<i64>("nodes_treeids")?;
        let count = trees.len();
        if count == 0 || count > NODES_MAX {
            bail!("{count} nodes, not 1 to {NODES_MAX}");
        }
        let ids = ints(node, "nodes_nodeids", count)?;
        let mut places = HashMap::with_capacity(count);
        for (at, (tree, id)) in trees.iter().zip(ids).enumerate() {
            if places.insert((*tree, *id), at).is_some() {
                bail!("tree {tree} has two nodes {id}");
            }
        }
        let mut drafts = Self::default();
        drafts.read_nodes(ctx, node, trees, &places)?;
        drafts.read_leaves(ctx, node, leaf, targets, &places)?;
        drafts.find_roots(Some(trees))?;
        Ok(drafts)
    }

    fn read_nodes(
        &mut self,
        ctx: &ParsingContext<'_>,
        node: &NodeProto,
        trees: &[i64],
        places: &HashMap<(i64, i64), usize>,
    ) -> TractResult<()> {
        let count = trees.len();
        let features = ints(node, "nodes_featureids", count)?;
        let yes = ints(node, "nodes_truenodeids", count)?;
        let no = ints(node, "nodes_falsenodeids", count)?;
        let modes = node.get_attr_slice::<Vec<u8>>("nodes_modes")?;
        let modes = same_len("nodes_modes", modes, count)?;
        let (values, is_double) =
            numbers(ctx, node, "nodes_values")?.context("it has no nodes_values")?;
        same_len("nodes_values", &values, count)?;
        let missing = missing(node, count)?;
        self.is_double = is_double;
        let parts = trees.iter().zip(features).zip(yes).zip(no).zip(modes).zip(&values);
        for ((((((tree, feature), yes), no), mode), value), missing) in parts.zip(missing) {
            let Some(test) = Test::from_name(mode)? else {
                self.nodes.push(Draft::Leaf { start: 0, count: 0 });
                continue;
            };
            let child = |id: &i64| {
                let found = places.get(&(*tree, *id)).copied();
                found.with_context(|| format!("tree {tree} leads to a node {id} that is not there"))
            };
            let feature = feature_place(*feature)?;
            let (yes, no) = (child(yes)?, child(no)?);
            let missing_is_yes = missing;
            self.nodes.push(Draft::Inner { feature, value: *value, test, missing_is_yes, yes, no });
        }
        Ok(())
    }

    fn read_leaves(
        &mut self,
        ctx: &ParsingContext<'_>,
        node: &NodeProto,
        leaf: &str,
        targets: usize,
        places: &HashMap<(i64, i64), usize>,
    ) -> TractResult<()> {
        let ids = node.get_attr_slice::<i64>(&format!("{leaf}_ids"))?;
        let trees = ints(node, &format!("{leaf}_treeids"), ids.len())?;
        let nodes = ints(node, &format!("{leaf}_nodeids"), ids.len())?;
        let name = format!("{leaf}_weights");
        let (weights, _) = numbers(ctx, node, &name)?.context("it has no weights")?;
        same_len(&name, &weights, ids.len())?;
        let mut found: Vec<(usize, u32, f64)> = Vec::with_capacity(ids.len());
        for (((tree, id), target), weight) in trees.iter().zip(nodes).zip(ids).zip(&weights) {
            let at = places.get(&(*tree, *id)).copied();
            let at = at.with_context(|| format!("tree {tree} has weights for no node, {id}"))?;
            let target = target_place(*target, targets)?;
            // What stands at an inner node never counts; some exporters write it all the same.
            if matches!(self.nodes.get(at), Some(Draft::Leaf { .. })) {
                found.push((at, target, *weight));
            }
        }
        found.sort_by_key(|(at, ..)| *at);
        for group in found.chunk_by(|one, other| one.0 == other.0) {
            if let Some(Draft::Leaf { start, count }) =
                group.first().and_then(|first| self.nodes.get_mut(first.0))
            {
                (*start, *count) = (self.weights.len(), group.len());
            }
            self.weights.extend(group.iter().map(|(_, target, weight)| (*target, *weight)));
        }
        Ok(())
    }

    /// Reads `TreeEnsemble`, whose leaves are a list of their own.
    pub(super) fn numbered(
        ctx: &ParsingContext<'_>,
        node: &NodeProto,
        targets: usize,
    ) -> TractResult<Self> {
        let features = node.get_attr_slice::<i64>("nodes_featureids")?;
        let count = features.len();
        if count == 0 || count > NODES_MAX / 3 {
            bail!("{count} nodes, not 1 to {}", NODES_MAX / 3);
        }
        let tensor = |name: &str| node.get_attr::<&TensorProto>(name);
        let (values, is_double) = tensor_numbers(ctx, tensor("nodes_splits")?)?;
        same_len("nodes_splits", &values, count)?;
        let modes = ctx.load_tensor(tensor("nodes_modes")?)?;
        let modes = same_len("nodes_modes", slice::<u8>(&modes)?, count)?;
        let missing = missing(node, count)?;
        let mut drafts = Self { is_double, ..Self::default() };
        let targets_of = node.get_attr_slice::<i64>("leaf_targetids")?;
        let (weights, _) = tensor_numbers(ctx, tensor("leaf_weights")?)?;
        same_len("leaf_weights", &weights, targets_of.len())?;
        for (target, weight) in targets_of.iter().zip(&weights) {
            drafts.weights.push((target_place(*target, targets)?, *weight));
        }
        let mut sets = match node.get_attr_opt::<&TensorProto>("membership_values")? {
            Some(tensor) => member_sets(&tensor_numbers(ctx, tensor)?.0),
            None => Vec::new(),
        }
        .into_iter();
        let yes = ints(node, "nodes_truenodeids", count)?;
        let yes_is_leaf = ints(node, "nodes_trueleafs", count)?;
        let no = ints(node, "nodes_falsenodeids", count)?;
        let no_is_leaf = ints(node, "nodes_falseleafs", count)?;
        let mut leaves = Vec::new();
        let mut child = |id: i64, is_leaf: i64, drafts: &Self| -> TractResult<usize> {
            let id = usize::try_from(id).ok();
            if is_leaf == 0 {
                return id
                    .filter(|id| *id < count)
                    .context("a node leads to one that is not there");
            }
            let start = id.filter(|id| *id < drafts.weights.len());
            let start = start.context("a node leads to a leaf that is not there")?;
            leaves.push(Draft::Leaf { start, count: 1 });
            Ok(count + leaves.len() - 1)
        };
        let ways = yes.iter().zip(yes_is_leaf).zip(no.iter().zip(no_is_leaf));
        let parts = features.iter().zip(&values).zip(modes).zip(missing).zip(ways);
        for ((((feature, value), mode), missing_is_yes), (yes, no)) in parts {
            let test = Test::from_number(*mode)?;
            let mut value = *value;
            if test == Test::Member {
                drafts.sets.push(sets.next().context("a set of members is missing")?);
                value = f64::from(u32::try_from(drafts.sets.len() - 1)?);
            }
            let yes = child(*yes.0, *yes.1, &drafts)?;
            let no = child(*no.0, *no.1, &drafts)?;
            let feature = feature_place(*feature)?;
            drafts.nodes.push(Draft::Inner { feature, value, test, missing_is_yes, yes, no });
        }
        drafts.nodes.extend(leaves);
        drafts.find_roots(None)?;
        let said = node.get_attr_slice::<i64>("tree_roots")?;
        let mut said: Vec<_> = said.iter().filter_map(|at| usize::try_from(*at).ok()).collect();
        said.sort_unstable();
        if said != drafts.roots {
            bail!("tree_roots are not the nodes that nothing leads to");
        }
        Ok(drafts)
    }

    /// Each node has one parent but the roots, of which each tree has one.
    fn find_roots(&mut self, trees: Option<&[i64]>) -> TractResult<()> {
        let mut has_parent = vec![false; self.nodes.len()];
        for node in &self.nodes {
            let Draft::Inner { yes, no, .. } = node else { continue };
            for child in [yes, no] {
                match has_parent.get_mut(*child) {
                    Some(seen) if !*seen => *seen = true,
                    _ => bail!("two nodes lead to the same one, so this is no tree"),
                }
            }
        }
        self.roots = (0..self.nodes.len())
            .filter(|at| has_parent.get(*at).is_some_and(|seen| !seen))
            .collect();
        if let Some(trees) = trees {
            let mut rooted: Vec<_> = self.roots.iter().filter_map(|at| trees.get(*at)).collect();
            rooted.sort_unstable();
            if let Some([tree, _]) = rooted.windows(2).find(|pair| pair.first() == pair.last()) {
                bail!("tree {tree} has two roots");
            }
        }
        Ok(())
    }
}

/// Which way missing values go, for each node.
fn missing(node: &NodeProto, count: usize) -> TractResult<Vec<bool>> {
    let name = "nodes_missing_value_tracks_true";
    let given = node.get_attr_opt_slice::<i64>(name)?.unwrap_or_default();
    if given.is_empty() {
        return Ok(vec![false; count]);
    }
    Ok(same_len(name, given, count)?.iter().map(|one| *one != 0).collect())
}

fn feature_place(feature: i64) -> TractResult<u32> {
    u32::try_from(feature).map_err(|_| format_err!("there is no feature {feature}"))
}

fn target_place(target: i64, targets: usize) -> TractResult<u32> {
    let place = usize::try_from(target).ok().filter(|place| *place < targets);
    let place = place.with_context(|| format!("a weight for {target} of {targets} targets"))?;
    Ok(u32::try_from(place)?)
}

/// Sets of members stand behind each other, a NaN after each.
fn member_sets(values: &[f64]) -> Vec<Vec<f64>> {
    values.split(|value| value.is_nan()).map(<[f64]>::to_vec).collect()
}
