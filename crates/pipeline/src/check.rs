//! Type check: whether stages fit each other, and what the whole takes and yields.
//!
//! A record enters the first stage with a value for each of its ports and leaves the last one so. Between two stages
//! an output feeds the input of the same name; where one output is left and one input has to be fed, they belong
//! together whatever they are called ([`feeds`]). Outputs that feed nothing end there.

use std::collections::BTreeMap;

use guildhall_protocol::PackageId;
use guildhall_protocol::contract::{Contract, LimitSet};
use guildhall_protocol::interface::{Interface, Misfit, Port, PortType, fits};
use guildhall_protocol::limits::PIPELINE_MAX_STAGES;
use guildhall_protocol::manifest::{Kind, Manifest, Stage};

/// What is known of one stage when a pipeline is checked and planned.
#[derive(Clone, Debug, PartialEq)]
pub struct StageInfo {
    /// Name, unique in the pipeline.
    pub name: String,
    /// The package that is executed.
    pub package: PackageId,
    /// Its ports.
    pub interface: Interface,
    /// Its limits; `None` when nothing is executed.
    pub contract: Option<Contract>,
    /// The engine that executes it; `None` when nothing is executed.
    pub engine: Option<String>,
    /// Engines that it needs beside that one, for its models.
    pub further_engines: Vec<String>,
    /// Settings for the package.
    pub config: BTreeMap<String, String>,
    /// Limits of the listing, where it is tighter than the manifest.
    pub listing: LimitSet,
}

impl StageInfo {
    /// The stage that executes `package`, whose manifest this is, without settings.
    #[must_use]
    pub fn new(name: impl Into<String>, package: PackageId, manifest: &Manifest) -> Self {
        Self {
            name: name.into(),
            package,
            interface: manifest.interface.clone(),
            contract: manifest.contract.clone(),
            engine: manifest.code.as_ref().map(|code| code.engine().to_owned()),
            further_engines: manifest.code.as_ref().map_or_else(Vec::new, |code| {
                code.engines().into_iter().skip(1).map(str::to_owned).collect()
            }),
            config: BTreeMap::new(),
            listing: LimitSet::default(),
        }
    }

    /// The same stage under the limits of its listing's contract.
    #[must_use]
    pub fn with_listing(mut self, contract: Option<&Contract>) -> Self {
        self.listing = contract.map(LimitSet::from).unwrap_or_default();
        self
    }

    /// What its producer allows: the smaller of manifest's and listing's.
    #[must_use]
    pub fn limits(&self) -> LimitSet {
        tighter(self.contract.as_ref().map(LimitSet::from).unwrap_or_default(), self.listing)
    }

    /// Memory it may hold: the smaller of manifest's and listing's, bytes; 0 when nothing is executed.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        match self.contract {
            Some(_) => self.limits().memory_bytes.unwrap_or_default(),
            None => 0,
        }
    }
}

/// The smaller of two sets of limits, where either sets one.
#[must_use]
pub fn tighter(a: LimitSet, b: LimitSet) -> LimitSet {
    let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
    LimitSet {
        scoring_ms: least(a.scoring_ms, b.scoring_ms),
        total_ms: least(a.total_ms, b.total_ms),
        memory_bytes: least(a.memory_bytes, b.memory_bytes),
        output_bytes: least(a.output_bytes, b.output_bytes),
        batch_max: least(a.batch_max, b.batch_max),
        queue_ms: least(a.queue_ms, b.queue_ms),
    }
}

/// The stages of a package: a pipeline's own, or the package itself as the only one, named `name`. `manifest_of` knows
/// the manifests of the stages' packages.
///
/// # Errors
/// [`PipelineError::NotHere`] when a stage's manifest is not known, [`PipelineError::Nested`] when it is a pipeline.
pub fn expand<'m>(
    name: &str,
    package: PackageId,
    manifest: &Manifest,
    manifest_of: impl Fn(PackageId) -> Option<&'m Manifest>,
) -> Result<Vec<StageInfo>, PipelineError> {
    if manifest.kind != Kind::Pipeline {
        return Ok(vec![StageInfo::new(name, package, manifest)]);
    }
    let stage_info = |stage: &Stage| {
        let found = manifest_of(stage.package).ok_or_else(|| PipelineError::NotHere {
            stage: stage.name.clone(),
            package: stage.package,
        })?;
        if found.kind == Kind::Pipeline {
            return Err(PipelineError::Nested { stage: stage.name.clone() });
        }
        let info = StageInfo::new(&stage.name, stage.package, found);
        Ok(StageInfo { config: stage.config.clone(), ..info })
    };
    manifest.stages.iter().map(stage_info).collect()
}

/// Checks that every stage can be executed and that each one's output fits the next one's input. Returns the interface
/// of the whole: the first stage's inputs and the last one's outputs.
///
/// # Errors
/// [`PipelineError`] with the first thing that does not hold, in order of the stages.
pub fn check(stages: &[StageInfo]) -> Result<Interface, PipelineError> {
    let (Some(first), Some(last)) = (stages.first(), stages.last()) else {
        return Err(PipelineError::Empty);
    };
    if stages.len() > PIPELINE_MAX_STAGES {
        return Err(PipelineError::TooMany { count: stages.len() });
    }
    let mut before: Option<&StageInfo> = None;
    for stage in stages {
        if stage.engine.is_none() || stage.contract.is_none() {
            return Err(PipelineError::NoCode { stage: stage.name.clone() });
        }
        if let Some(from) = before {
            check_feeds(from, stage)?;
        }
        before = Some(stage);
    }
    Ok(Interface {
        inputs: first.interface.inputs.clone(),
        outputs: last.interface.outputs.clone(),
    })
}

/// An output of one stage and the input of the next that it feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed<'a> {
    /// The output.
    pub from: &'a Port,
    /// The input.
    pub to: &'a Port,
}

/// Which outputs feed which inputs: those of the same name, and at the end the only output left over with the only input
/// that still has to be fed, or with the only one at all.
///
/// # Errors
/// The inputs that have to be fed and are not.
pub fn feeds<'a>(outputs: &'a [Port], inputs: &'a [Port]) -> Result<Vec<Feed<'a>>, Vec<&'a Port>> {
    let named = |to: &'a Port| {
        outputs.iter().find(|from| from.name == to.name).map(|from| Feed { from, to })
    };
    let mut found: Vec<Feed<'a>> = inputs.iter().filter_map(named).collect();
    let is_fed = |port: &&Port| found.iter().any(|feed| feed.to.name == port.name);
    let hungry: Vec<&Port> =
        inputs.iter().filter(|port| !is_fed(port)).filter(|port| !port.optional).collect();
    let mut left = outputs.iter().filter(|from| found.iter().all(|feed| feed.from != *from));
    let last = match (hungry.as_slice(), inputs) {
        ([to], _) => Some(*to),
        ([], [to]) if found.is_empty() => Some(to),
        _ => None,
    };
    match (last, left.next(), left.next()) {
        (Some(to), Some(from), None) => {
            found.push(Feed { from, to });
            Ok(found)
        }
        _ if hungry.is_empty() && !found.is_empty() => Ok(found),
        _ => Err(hungry),
    }
}

fn check_feeds(from: &StageInfo, to: &StageInfo) -> Result<(), PipelineError> {
    let found = feeds(&from.interface.outputs, &to.interface.inputs).map_err(|_| {
        PipelineError::Unfed(Box::new(Unfed {
            from_stage: from.name.clone(),
            outputs: names(&from.interface.outputs),
            to_stage: to.name.clone(),
            inputs: names(&to.interface.inputs),
        }))
    })?;
    for feed in found {
        if let Err(why) = fits(&feed.from.port_type, &feed.to.port_type) {
            return Err(PipelineError::Misfit(Box::new(PortMisfit {
                from_stage: from.name.clone(),
                from_port: feed.from.clone(),
                to_stage: to.name.clone(),
                to_port: feed.to.clone(),
                why,
            })));
        }
    }
    Ok(())
}

/// Checks that records of type `source` may enter a pipeline with this interface.
///
/// # Errors
/// [`InputError`].
pub fn check_input(interface: &Interface, source: &PortType) -> Result<(), InputError> {
    let input = fed_port(interface).map_err(|ports| InputError::Ports { ports: names(ports) })?;
    fits(source, &input.port_type).map_err(|why| {
        InputError::Misfit(Box::new(SourceMisfit {
            source_type: source.clone(),
            to_port: input.clone(),
            why,
        }))
    })
}

/// The port that a data package's records come out of; `None` when it says nothing about records.
#[must_use]
pub fn source_port(data: &Manifest) -> Option<&Port> {
    let records = data.records.as_ref()?;
    data.interface.outputs.iter().find(|port| port.name == records.port)
}

/// The one input port that must be fed, or all of them when it is not one.
///
/// # Errors
/// All input ports, when it is not clear which one a single value is for.
pub fn fed_port(interface: &Interface) -> Result<&Port, &[Port]> {
    let mut required = interface.inputs.iter().filter(|port| !port.optional);
    match (required.next(), required.next(), interface.inputs.as_slice()) {
        (Some(port), None, _) | (None, None, [port]) => Ok(port),
        (_, _, ports) => Err(ports),
    }
}

fn names(ports: &[Port]) -> Vec<String> {
    ports.iter().map(|port| port.name.clone()).collect()
}

/// Why stages make no pipeline that can be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// There is no stage.
    #[error("a pipeline needs at least one stage")]
    Empty,
    /// There are too many.
    #[error("{count} stages are more than the {PIPELINE_MAX_STAGES} that a pipeline may have")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A stage's manifest is not known.
    #[error("stage `{stage}`: its package {package} is not here")]
    NotHere {
        /// The stage.
        stage: String,
        /// Its package.
        package: PackageId,
    },
    /// A stage is itself a pipeline.
    #[error("stage `{stage}` is a pipeline; write its stages instead")]
    Nested {
        /// The stage.
        stage: String,
    },
    /// No engine executes the stage.
    #[error("stage `{stage}` has no code that an engine executes")]
    NoCode {
        /// The stage.
        stage: String,
    },
    /// Inputs of a stage that nothing feeds.
    #[error(transparent)]
    Unfed(#[from] Box<Unfed>),
    /// What one stage yields is not what the next one takes.
    #[error(transparent)]
    Misfit(#[from] Box<PortMisfit>),
}

/// Two stages whose ports cannot be told to belong together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stage `{to_stage}` has {}, and stage `{from_stage}` before it {}: an output feeds the input of its name, and only \
     one of each may be called differently",
    listed("input", inputs),
    listed("output", outputs)
)]
pub struct Unfed {
    /// The earlier stage.
    pub from_stage: String,
    /// Its outputs.
    pub outputs: Vec<String>,
    /// The later stage.
    pub to_stage: String,
    /// Its inputs.
    pub inputs: Vec<String>,
}

/// An output that does not fit the input after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stage `{from_stage}` yields `{}` ({}), which does not fit `{}` ({}) of stage `{to_stage}`: {why}",
    from_port.name, from_port.port_type, to_port.name, to_port.port_type
)]
pub struct PortMisfit {
    /// The earlier stage.
    pub from_stage: String,
    /// Its output.
    pub from_port: Port,
    /// The later stage.
    pub to_stage: String,
    /// Its input.
    pub to_port: Port,
    /// What does not fit.
    #[source]
    pub why: Misfit,
}

/// Why records cannot enter a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Not one input port must be fed.
    #[error(
        "a record is one value: one input is required, but there are {}",
        listed("input", ports)
    )]
    Ports {
        /// The input ports.
        ports: Vec<String>,
    },
    /// The records are of another type.
    #[error(transparent)]
    Misfit(#[from] Box<SourceMisfit>),
}

/// Records that do not fit the port they should enter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the records ({source_type}) do not fit the input `{}` ({}): {why}", to_port.name, to_port.port_type)]
pub struct SourceMisfit {
    /// Type of the records.
    pub source_type: PortType,
    /// The port.
    pub to_port: Port,
    /// What does not fit.
    #[source]
    pub why: Misfit,
}

/// `no outputs`, or `2 outputs: a, b`.
fn listed(what: &str, ports: &[String]) -> String {
    match ports.len() {
        0 => format!("no {what}s"),
        1 => format!("1 {what}: {}", ports.concat()),
        count => format!("{count} {what}s: {}", ports.join(", ")),
    }
}
