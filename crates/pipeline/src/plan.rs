//! Plans: what a job needs of the node that executes it.

use guildhall_protocol::RunId;
use guildhall_protocol::contract::{Hardware, LimitSet};
use guildhall_protocol::interface::Interface;
use guildhall_protocol::wire::{JobStage, OfferRequest};

use crate::check::{PipelineError, StageInfo, check};

/// A checked pipeline, ready to be placed. All its stages go to the same nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Stages in order, as an executor is told.
    pub stages: Vec<JobStage>,
    /// The stages' names, in the same order.
    pub names: Vec<String>,
    /// What the stages' producers allow, in the same order.
    pub limits: Vec<LimitSet>,
    /// Engines that the stages need, sorted, each once.
    pub engines: Vec<String>,
    /// Most memory that one stage's contract asks for, bytes.
    pub memory_bytes: u64,
    /// Hardware that satisfies every stage.
    pub hardware: Hardware,
    /// What the whole takes and yields.
    pub interface: Interface,
    /// Most records that every stage's producer allows in one call.
    pub batch_max: u64,
}

impl Plan {
    /// How long a run of this may wait for a slot, milliseconds: the least that a producer allows and `asked` does.
    #[must_use]
    pub fn queue_ms(&self, asked: &LimitSet) -> Option<u64> {
        self.limits.iter().chain([asked]).filter_map(|limits| limits.queue_ms).min()
    }

    /// What a node is asked before it is sent the job; `asked` is what the requester wants, and `isolation` the least
    /// level that it accepts.
    #[must_use]
    pub fn offer_request(&self, run: RunId, asked: &LimitSet, isolation: u8) -> OfferRequest {
        OfferRequest {
            run,
            stages: self.stages.iter().map(|stage| stage.package).collect(),
            engines: self.engines.clone(),
            memory_bytes: self.memory_bytes,
            hardware: self.hardware.clone(),
            isolation,
            queue_ms: self.queue_ms(asked),
            hold_ms: 0,
        }
    }
}

/// Checks `stages` and sums up what they need.
///
/// # Errors
/// [`PipelineError`] from [`check`].
pub fn plan(stages: &[StageInfo]) -> Result<Plan, PipelineError> {
    let interface = check(stages)?;
    let needed = |stage: &StageInfo| -> Vec<String> {
        stage.engine.iter().chain(&stage.further_engines).cloned().collect()
    };
    let mut engines: Vec<String> = stages.iter().flat_map(needed).collect();
    engines.sort_unstable();
    engines.dedup();
    let limits: Vec<LimitSet> = stages.iter().map(StageInfo::limits).collect();
    let contracts = || stages.iter().filter_map(|stage| stage.contract.as_ref());
    let job_stage = |stage: &StageInfo| JobStage {
        package: stage.package,
        engine: None,
        config: stage.config.clone(),
        listing: stage.listing,
    };
    Ok(Plan {
        stages: stages.iter().map(job_stage).collect(),
        names: stages.iter().map(|stage| stage.name.clone()).collect(),
        engines,
        memory_bytes: stages.iter().map(StageInfo::memory_bytes).max().unwrap_or_default(),
        hardware: Hardware {
            cores: contracts().map(|one| one.hardware.cores).max().unwrap_or_default(),
            gpu_memory_bytes: contracts()
                .map(|one| one.hardware.gpu_memory_bytes)
                .max()
                .unwrap_or_default(),
        },
        interface,
        batch_max: limits.iter().filter_map(|limits| limits.batch_max).min().unwrap_or(1),
        limits,
    })
}
