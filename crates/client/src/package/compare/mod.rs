//! Two packages side by side: what a consumer of the first must know before taking the second.
//!
//! Only manifests are compared, and what workers found in files; no content is read here.

mod structure;

use std::collections::BTreeMap;

use guildhall_protocol::contract::Contract;
use guildhall_protocol::facts::Facts;
use guildhall_protocol::interface::{Interface, Port, PortType, fits};
use guildhall_protocol::manifest::{Code, FileEntry, Manifest, PortFile, Stage, UnitTest};
use guildhall_protocol::name::FileName;
use serde::Serialize;

use super::size::ByteSize;

/// One of the two packages.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// What its files are, as far as somebody looked.
    pub facts: &'a BTreeMap<FileName, Facts>,
}

/// Everything that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Kind, licence, limits, code, dependencies, tests.
    pub manifest: Vec<Change>,
    /// Ports, `input NAME` or `output NAME`.
    pub ports: Vec<Change>,
    /// Why the second cannot take the place of the first, a line for each reason; none when it can. `None` when neither
    /// has ports.
    pub misfits: Option<Vec<String>>,
    /// Files.
    pub files: FileChanges,
    /// What changed inside files, for those that were looked into on both sides.
    pub structure: Vec<FileStructure>,
}

/// One thing that is different; `None` where it is not there at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is about.
    pub what: String,
    /// In the first package.
    pub before: Option<String>,
    /// In the second.
    pub after: Option<String>,
}

/// How the files differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileChanges {
    /// In the second only, and its content is new.
    pub added: Vec<FileEntry>,
    /// In the first only, and its content is gone.
    pub removed: Vec<FileEntry>,
    /// The same content under another name.
    pub renamed: Vec<Renamed>,
    /// The same name with other content.
    pub changed: Vec<Changed>,
    /// Files that are the same.
    pub unchanged: usize,
    /// Bytes of the second whose whole file is in the first, under any name.
    pub same_bytes: u64,
    /// Bytes of the second in all.
    pub all_bytes: u64,
}

/// A file with another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// In the first package.
    pub from: FileName,
    /// In the second.
    pub to: FileName,
    /// Length, bytes.
    pub len_bytes: u64,
}

/// A file with other content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its name.
    pub name: FileName,
    /// Length in the first package, bytes.
    pub before_bytes: u64,
    /// Length in the second, bytes.
    pub after_bytes: u64,
}

/// What changed inside one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileStructure {
    /// Its name in the second package.
    pub file: FileName,
    /// What changed; empty when only values did.
    pub changes: Vec<Change>,
}

impl Comparison {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        let files = &self.files;
        self.manifest.is_empty()
            && self.ports.is_empty()
            && files.added.is_empty()
            && files.removed.is_empty()
            && files.renamed.is_empty()
            && files.changed.is_empty()
    }
}

/// Compares two packages.
#[must_use]
pub fn compare(before: Compared<'_>, after: Compared<'_>) -> Comparison {
    let files = files(before.manifest, after.manifest);
    let structure = structure::of_files(&files, before.facts, after.facts);
    let (old, new) = (&before.manifest.interface, &after.manifest.interface);
    Comparison {
        manifest: manifest(before.manifest, after.manifest),
        ports: ports(old, new),
        misfits: (*old != Interface::default() || *new != Interface::default())
            .then(|| misfits(old, new)),
        files,
        structure,
    }
}

/// Notes a difference between two shown values.
fn note(changes: &mut Vec<Change>, what: &str, before: Option<String>, after: Option<String>) {
    if before != after {
        changes.push(Change { what: what.to_owned(), before, after });
    }
}

fn manifest(before: &Manifest, after: &Manifest) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut both = |what: &str, shown: &dyn Fn(&Manifest) -> Option<String>| {
        note(&mut changes, what, shown(before), shown(after));
    };
    both("kind", &|m| Some(m.kind.to_string()));
    both("licence", &|m| Some(m.licence.clone()));
    both("sensitive", &|m| Some(if m.sensitive { "yes" } else { "no" }.to_owned()));
    both("code", &|m| m.code.as_ref().map(|code| format!("{} {}", code.engine(), code.file())));
    both("bindings", &|m| match &m.code {
        Some(Code::Onnx(onnx)) => {
            let all = onnx.inputs.iter().chain(&onnx.outputs);
            Some(all.map(|b| format!("{}={}", b.port, b.tensor)).collect::<Vec<_>>().join(", "))
        }
        _ => None,
    });
    both("records", &|m| m.records.as_ref().map(|records| records.folder.to_string()));
    both("labels", &|m| m.records.as_ref()?.labels.as_ref().map(ToString::to_string));
    limits(&mut changes, before.contract.as_ref(), after.contract.as_ref());
    by_name(&mut changes, "stage", &stages(before), &stages(after));
    let needs = |m: &Manifest| m.dependencies.iter().map(Pair::alone).collect::<Vec<_>>();
    by_name(&mut changes, "dependency", &needs(before), &needs(after));
    by_name(&mut changes, "test", &tests(before), &tests(after));
    changes
}

fn limits(changes: &mut Vec<Change>, before: Option<&Contract>, after: Option<&Contract>) {
    let mut both = |name: &str, shown: &dyn Fn(&Contract) -> String| {
        note(changes, &format!("limit: {name}"), before.map(shown), after.map(shown));
    };
    both("time a record", &|c| format!("{} ms", c.scoring_ms));
    both("measured on", &|c| c.measured_on.clone());
    both("memory", &|c| ByteSize(c.memory_bytes).to_string());
    both("scratch", &|c| ByteSize(c.scratch_bytes).to_string());
    both("output", &|c| ByteSize(c.output_bytes).to_string());
    both("records at once", &|c| c.batch_max.to_string());
    let or_nodes =
        |ms: Option<u64>| ms.map_or_else(|| "as the node says".to_owned(), |ms| format!("{ms} ms"));
    both("time a job", &|c| or_nodes(c.total_ms));
    both("time to wait", &|c| or_nodes(c.queue_ms));
    both("imports", &|c| format!("{:?}", c.imports));
    both("cores", &|c| c.hardware.cores.to_string());
    both("GPU memory", &|c| ByteSize(c.hardware.gpu_memory_bytes).to_string());
    both("determinism", &|c| format!("{:?}", c.determinism).to_lowercase());
}

/// A name and what stands behind it.
struct Pair {
    name: String,
    value: String,
}

impl Pair {
    fn new(name: &impl ToString, value: String) -> Self {
        Self { name: name.to_string(), value }
    }

    /// A name with nothing behind it.
    fn alone(name: &impl ToString) -> Self {
        Self::new(name, name.to_string())
    }
}

fn stages(manifest: &Manifest) -> Vec<Pair> {
    let shown = |stage: &Stage| {
        let package = stage.reference.as_ref().map(ToString::to_string);
        let config = stage.config.iter().map(|(key, value)| format!(" {key}={value}"));
        package.unwrap_or_else(|| stage.package.to_string()) + &config.collect::<String>()
    };
    manifest.stages.iter().map(|stage| Pair::new(&stage.name, shown(stage))).collect()
}

fn tests(manifest: &Manifest) -> Vec<Pair> {
    let files = |files: &[PortFile]| {
        files.iter().map(|file| file.file.to_string()).collect::<Vec<_>>().join(", ")
    };
    let shown = |test: &UnitTest| {
        format!("{} -> {}, tolerance {}", files(&test.inputs), files(&test.outputs), test.tolerance)
    };
    manifest.tests.iter().map(|test| Pair::new(&test.name, shown(test))).collect()
}

/// Differences between two lists of names and what stands behind them.
fn by_name(changes: &mut Vec<Change>, what: &str, before: &[Pair], after: &[Pair]) {
    let map = |pairs: &[Pair]| -> BTreeMap<String, String> {
        pairs.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect()
    };
    let (old, new) = (map(before), map(after));
    for Pair { name, value } in before {
        note(changes, &format!("{what} {name}"), Some(value.clone()), new.get(name).cloned());
    }
    for Pair { name, value } in after.iter().filter(|pair| !old.contains_key(&pair.name)) {
        note(changes, &format!("{what} {name}"), None, Some(value.clone()));
    }
}

fn ports(before: &Interface, after: &Interface) -> Vec<Change> {
    let shown = |ports: &[Port]| -> Vec<Pair> {
        let one = |port: &Port| {
            let optional = if port.optional { ", optional" } else { "" };
            // Columns and labels are not part of how a type is shown.
            let inside = match &port.port_type {
                PortType::Table(table) => {
                    let columns = table.columns.iter().map(|c| format!("{} {}", c.name, c.dtype));
                    format!(": {}", columns.collect::<Vec<_>>().join(", "))
                }
                PortType::Prediction(prediction) => {
                    format!(": {}", prediction.labels.join(", "))
                }
                _ => String::new(),
            };
            Pair::new(&port.name, format!("{}{optional}{inside}", port.port_type))
        };
        ports.iter().map(one).collect()
    };
    let mut changes = Vec::new();
    by_name(&mut changes, "input", &shown(&before.inputs), &shown(&after.inputs));
    by_name(&mut changes, "output", &shown(&before.outputs), &shown(&after.outputs));
    changes
}

/// Why the second does not fit wherever the first fitted: it must take all that the first took, and yield nothing that
/// the first would not have yielded.
fn misfits(before: &Interface, after: &Interface) -> Vec<String> {
    let named =
        |ports: &'_ [Port], name: &str| ports.iter().find(|port| port.name == name).cloned();
    let mut why = Vec::new();
    for old in &before.inputs {
        match named(&after.inputs, &old.name) {
            None => why.push(format!("input `{}` is gone", old.name)),
            Some(new) => {
                if let Err(misfit) = fits(&old.port_type, &new.port_type) {
                    why.push(format!("input `{}`: {misfit}", old.name));
                }
                if old.optional && !new.optional {
                    why.push(format!("input `{}` may no longer be left out", old.name));
                }
            }
        }
    }
    for new in after.inputs.iter().filter(|new| !new.optional) {
        if named(&before.inputs, &new.name).is_none() {
            why.push(format!("input `{}` is new and must be given", new.name));
        }
    }
    for old in &before.outputs {
        match named(&after.outputs, &old.name) {
            None => why.push(format!("output `{}` is gone", old.name)),
            Some(new) => {
                if let Err(misfit) = fits(&new.port_type, &old.port_type) {
                    why.push(format!("output `{}`: {misfit}", old.name));
                }
            }
        }
    }
    why
}

fn files(before: &Manifest, after: &Manifest) -> FileChanges {
    let mut changes = FileChanges { all_bytes: after.len_bytes(), ..FileChanges::default() };
    let mut gone: Vec<&FileEntry> =
        before.files.iter().filter(|file| after.file(&file.name).is_none()).collect();
    for new in &after.files {
        if before.files.iter().any(|old| old.hash == new.hash) {
            changes.same_bytes = changes.same_bytes.saturating_add(new.len_bytes);
        }
        match before.file(&new.name) {
            Some(old) if old.hash == new.hash => changes.unchanged += 1,
            Some(old) => changes.changed.push(Changed {
                name: new.name.clone(),
                before_bytes: old.len_bytes,
                after_bytes: new.len_bytes,
            }),
            None => match gone.iter().position(|old| old.hash == new.hash) {
                Some(at) => {
                    let (from, to) = (gone.remove(at).name.clone(), new.name.clone());
                    changes.renamed.push(Renamed { from, to, len_bytes: new.len_bytes });
                }
                None => changes.added.push(new.clone()),
            },
        }
    }
    changes.removed = gone.into_iter().cloned().collect();
    changes
}
