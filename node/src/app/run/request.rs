//! Asking for a run: resolve, check, plan, place, hand over the records, take the outputs, sign the receipt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use guildhall_gateway::ApiError;
use guildhall_overlay::peer_id_string;
use guildhall_pipeline::{self as pipeline, Candidate, Placed, Plan};
use guildhall_protocol::api::{
    InferRequest, InputRecord, RunFailure, RunInput, RunReport, RunRequest, RunState,
};
use guildhall_protocol::contract::{LimitSet, Limits};
use guildhall_protocol::interface::Interface;
use guildhall_protocol::isolation::Level;
use guildhall_protocol::limits::{JOB_MAX_RECORDS, VALUE_MAX_BYTES};
use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::name::Reference;
use guildhall_protocol::wire::{JobInput, PortValue};
use guildhall_protocol::{Hash, PackageId, PublicKey, RunId, cbor, values};
use guildhall_store::Batch;
use tracing::info;

use super::super::{App, lock};
use super::input::{Input, NamedRecord, record_files};
use super::outputs::{Outputs, Tally};
use super::runner::{End, Runner, explain};
use super::sessions::Opening;
use super::{Entry, Kept, Resume, ResumeInput};
use crate::clock;

/// Plans that single requests may find.
const PLANS_MAX: usize = 256;

/// How long they do. A stage that is yanked or listed with other limits is seen after that; what a request itself names
/// is looked up each time.
const PLAN_FRESH: Duration = Duration::from_secs(1);

/// Plans by what the request calls the package, and the package.
pub(in crate::app) type Plans = BTreeMap<(String, PackageId), (Instant, Arc<Plan>)>;

/// What every share of a run needs to know.
pub(super) struct Job {
    pub(super) run: RunId,
    /// Key of the edge commitments.
    pub(super) nonce: Hash,
    pub(super) plan: Plan,
    pub(super) input: JobInput,
    /// What the requester asked for.
    pub(super) limits: LimitSet,
    /// Least level of isolation that is accepted.
    pub(super) isolation: u8,
    pub(super) shares_max: Option<u32>,
    /// Packages and the orgs' nodes that listed them: whom an executor should ask first.
    pub(super) holders: Vec<PublicKey>,
}

/// How long a run waits for a free slot unless it says something else, milliseconds.
const QUEUE_DEFAULT_MS: u64 = 60_000;

/// A run that is ready to start.
struct Prepared {
    job: Job,
    input: Input,
    placed: Vec<Placed>,
    labels: BTreeMap<String, String>,
}

impl App {
    /// Checks everything that can be checked before the run, then starts it. Returns when it is under way.
    pub(in crate::app) async fn start_run(
        self: &Arc<Self>,
        request: RunRequest,
    ) -> Result<RunId, ApiError> {
        let package = self.resolve(&request.reference).await?;
        let plan = self.plan_of(&request.reference, package).await?;
        let input = self.prepare_input(&request.input, &plan).await?;
        let run = RunId(clock::random());
        let resume = Resume {
            package,
            input: match &input {
                Input::Package { package, .. } => ResumeInput::Package(*package),
                Input::Records(records) => ResumeInput::Records(self.spool(records).await?),
            },
            on: request.on,
            limits: request.limits,
            isolation: request.isolation,
            shares_max: request.shares_max,
        };
        let prepared = self.prepare_run(run, &resume, plan, input).await?;
        let data = match resume.input {
            ResumeInput::Package(package) => Some(package),
            ResumeInput::Records(_) => None,
        };
        let report = RunReport {
            run_id: run,
            reference: request.reference,
            state: RunState::Running,
            executed_on: None,
            executors: Vec::new(),
            executors_left_out: 0,
            records: 0,
            failed: 0,
            total: Some(prepared.input.names().len() as u64),
            left_seconds: None,
            seconds: 0.0,
            accuracy: None,
            failure: None,
            receipts: Vec::new(),
            receipts_left_out: 0,
            unsigned: 0,
            log: Vec::new(),
        };
        let kept = Kept {
            report,
            tally: Tally::default(),
            resume: Some(resume),
            started_ms: clock::now_ms(),
        };
        self.begin(prepared, Entry::of(kept)).await?;
        for used in [package].into_iter().chain(data) {
            self.used(request.query_id, used).await;
        }
        Ok(run)
    }

    /// Goes on with a run that was interrupted, cancelled or failed, behind what came out.
    pub(in crate::app) async fn resume_run(
        self: &Arc<Self>,
        run: RunId,
    ) -> Result<RunReport, ApiError> {
        let entry = self.entry(run)?;
        let mut kept = lock(&entry.state).clone();
        match kept.report.state {
            RunState::Running => {
                return Err(ApiError::conflict("still_running", "the run is under way"));
            }
            RunState::Completed => {
                return Err(ApiError::conflict("not_resumable", "the run is complete")
                    .with_help(format!("guild runs {run}")));
            }
            RunState::Failed | RunState::Cancelled | RunState::Interrupted => {}
        }
        let Some(resume) = kept.resume.clone() else {
            return Err(ApiError::conflict("not_resumable", "nothing is kept to go on with"));
        };
        let plan = self.plan_of(&kept.report.reference, resume.package).await?;
        let input = match resume.input {
            ResumeInput::Package(package) => {
                self.prepare_input(&RunInput::Package(Reference::Package(package)), &plan).await?
            }
            ResumeInput::Records(hash) => Input::Records(self.unspool(hash)?),
        };
        let prepared = self.prepare_run(run, &resume, plan, input).await?;
        kept.report.state = RunState::Running;
        kept.report.failure = None;
        kept.report.records = kept.tally.records;
        kept.report.failed = kept.tally.failed;
        self.begin(prepared, Entry::of(kept)).await?;
        self.run_report(run)
    }

    pub(super) async fn plan_of(
        self: &Arc<Self>,
        reference: &Reference,
        package: PackageId,
    ) -> Result<Plan, ApiError> {
        let manifest = self.manifest_of(package).await?;
        let stages = self.stages_of(stage_name(reference), package, &manifest).await?;
        let plan = pipeline::plan(&stages).map_err(|error| {
            ApiError::failed("not_runnable", format!("{reference} cannot be run: {error}"))
        })?;
        self.check_fresh(&plan)?;
        Ok(plan)
    }

    /// The same, for single requests that follow each other: not older than [`PLAN_FRESH`].
    pub(super) async fn recent_plan(
        self: &Arc<Self>,
        reference: &Reference,
        package: PackageId,
    ) -> Result<Arc<Plan>, ApiError> {
        let key = (stage_name(reference).to_owned(), package);
        let known = lock(&self.plans).get(&key).cloned();
        if let Some((made, plan)) = known
            && made.elapsed() < PLAN_FRESH
        {
            return Ok(plan);
        }
        let plan = Arc::new(self.plan_of(reference, package).await?);
        let mut plans = lock(&self.plans);
        plans.retain(|_, (made, _)| made.elapsed() < PLAN_FRESH);
        if plans.len() < PLANS_MAX {
            plans.insert(key, (Instant::now(), Arc::clone(&plan)));
        }
        Ok(plan)
    }

    async fn prepare_run(
        self: &Arc<Self>,
        run: RunId,
        resume: &Resume,
        plan: Plan,
        input: Input,
    ) -> Result<Prepared, ApiError> {
        let placed = self.place(&plan, &resume.on, resume.isolation).await;
        let placed = placed.map_err(|error| {
            ApiError::failed("no_executor", error.to_string()).with_help("guild peers")
        })?;
        let labels = match &input {
            Input::Package { package, manifest } => self.fetch_labels(*package, manifest).await,
            Input::Records(_) => BTreeMap::new(),
        };
        let queue_ms = Some(resume.limits.queue_ms.unwrap_or(QUEUE_DEFAULT_MS));
        let job = Job {
            run,
            nonce: clock::random(),
            holders: self.listing_nodes(&plan, &input),
            input: input.for_executors(),
            limits: LimitSet { queue_ms, ..resume.limits },
            isolation: resume.isolation,
            shares_max: resume.shares_max,
            plan,
        };
        Ok(Prepared { job, input, placed, labels })
    }

    /// What it takes to open a session for a request; `None` where no node may execute it. A session waits for no slot:
    /// a run does.
    pub(super) async fn opening(
        self: &Arc<Self>,
        plan: &Plan,
        request: &InferRequest,
    ) -> Option<Opening> {
        let placed = self.place(plan, &request.on, request.isolation).await.ok()?;
        let input = Input::Records(Vec::new());
        let job = Job {
            run: RunId(clock::random()),
            nonce: clock::random(),
            holders: self.listing_nodes(plan, &input),
            input: input.for_executors(),
            limits: LimitSet { queue_ms: Some(0), ..request.limits },
            isolation: request.isolation,
            shares_max: None,
            plan: plan.clone(),
        };
        Some(Opening { job, placed })
    }

    /// Keeps the requester's records until the run is done.
    async fn spool(&self, records: &[NamedRecord]) -> Result<Hash, ApiError> {
        let internal =
            |error: String| ApiError::internal(format!("the input is not kept: {error}"));
        let bytes = cbor::encode(&records);
        let mut writer = self
            .store
            .blob_writer(None, bytes.len() as u64)
            .map_err(|error| internal(error.to_string()))?;
        let staged = tokio::task::block_in_place(|| {
            writer.write_all(&bytes)?;
            writer.finish()
        });
        let staged = staged.map_err(|error| internal(error.to_string()))?;
        let hash = staged.hash();
        // Until the run's state names it.
        self.leases.mark(hash);
        let mut batch = Batch::new();
        batch.add_blob(staged);
        self.store.commit(batch).await.map_err(|error| internal(error.to_string()))?;
        Ok(hash)
    }

    fn unspool(&self, hash: Hash) -> Result<Vec<NamedRecord>, ApiError> {
        let internal = |error: String| ApiError::internal(format!("the input is lost: {error}"));
        let bytes = tokio::task::block_in_place(|| self.store.read_blob(&hash, u64::MAX));
        let bytes = bytes.map_err(|error| internal(error.to_string()))?;
        cbor::decode(&bytes, bytes.len()).map_err(|error| internal(error.to_string()))
    }

    async fn begin(self: &Arc<Self>, prepared: Prepared, entry: Entry) -> Result<(), ApiError> {
        if !self.make_room().await {
            return Err(ApiError::unavailable("too_many_runs", "too many runs are under way"));
        }
        let entry = Arc::new(entry);
        lock(&self.runs).insert(entry.id, Arc::clone(&entry));
        self.save_run(&entry).await;
        let app = Arc::clone(self);
        self.tasks.spawn("run", async move { app.run_to_the_end(prepared, &entry).await });
        Ok(())
    }

    /// Runs, keeps what came out, and says how it ended.
    async fn run_to_the_end(self: &Arc<Self>, prepared: Prepared, entry: &Entry) {
        let Prepared { job, input, placed, labels } = prepared;
        let job = Arc::new(job);
        let kept = lock(&entry.state).tally.clone();
        let ports = job.plan.interface.outputs.clone();
        let mut outputs = Outputs::new(self, input.names(), ports, labels, kept);
        let (mut state, mut failed) = {
            let mut runner = Runner::new(self, &job, entry, (&input, &mut outputs), placed);
            tokio::select! {
                biased;
                () = self.tasks.token().cancelled() => {
                    let why = "this node stopped while the run was under way; it can be resumed";
                    (RunState::Interrupted, Some(failure("interrupted", why.to_owned())))
                }
                () = entry.cancel.cancelled() => {
                    let why = "the run was cancelled; it can be resumed";
                    (RunState::Cancelled, Some(failure("cancelled", why.to_owned())))
                }
                end = runner.run() => match end {
                    End::Done => (RunState::Completed, None),
                    End::Failed(failed) => (RunState::Failed, Some(failed)),
                },
            }
        };
        let tally = match outputs.cut().await {
            Ok(tally) => tally.clone(),
            Err(error) => {
                state = RunState::Failed;
                let why = format!("the outputs are not kept: {error}");
                failed.get_or_insert_with(|| failure("storage", why));
                Tally::default()
            }
        };
        if state == RunState::Completed && tally.failed > 0 {
            let limits = limits_of(entry);
            failed =
                tally.first_failure.as_ref().map(|first| explain(&job.plan.names, first, &limits));
            if tally.failed == tally.records {
                state = RunState::Failed;
            }
        }
        info!(run = %entry.id, cause = failed.as_ref().map(|failure| failure.cause.as_str()), "run ended");
        entry.keep(tally.clone());
        entry.update(|report| {
            report.state = state;
            report.left_seconds = None;
            (report.records, report.failed) = (tally.records, tally.failed);
            report.accuracy = tally.accuracy();
            report.failure = failed;
            // Whoever was ready first may have done nothing of it.
            let most = report.executors.iter().max_by_key(|share| share.records);
            if let Some(most) = most.filter(|most| most.records > 0) {
                report.executed_on = Some(most.node.clone());
            }
        });
        if state == RunState::Completed {
            lock(&entry.state).resume = None;
        }
        self.save_run(entry).await;
        entry.ended.cancel();
    }

    /// The manifest of a package, from here or from a holder.
    async fn manifest_of(self: &Arc<Self>, package: PackageId) -> Result<Manifest, ApiError> {
        self.fetch_manifest(package, &[]).await.map_err(|error| {
            ApiError::upstream("not_fetched", error.to_string()).with_help("guild peers")
        })
    }

    async fn prepare_input(
        self: &Arc<Self>,
        input: &RunInput,
        plan: &Plan,
    ) -> Result<Input, ApiError> {
        let bad = |why: String| ApiError::failed("bad_input", why);
        match input {
            RunInput::Package(reference) => {
                let package = self.resolve(reference).await?;
                let manifest = self.manifest_of(package).await?;
                record_files(&manifest).map_err(|why| bad(format!("{reference}: {why}")))?;
                let port = pipeline::source_port(&manifest)
                    .ok_or_else(|| bad(format!("{reference}: its records have no port")))?;
                pipeline::check_input(&plan.interface, &port.port_type).map_err(|error| {
                    ApiError::failed("ports_do_not_fit", format!("{reference}: {error}"))
                })?;
                Ok(Input::Package { package, manifest: Box::new(manifest) })
            }
            RunInput::Records(records) => {
                if records.is_empty() || records.len() as u64 > JOB_MAX_RECORDS {
                    return Err(bad(format!("a run takes 1 to {JOB_MAX_RECORDS} records")));
                }
                let named = |record: &InputRecord| {
                    let values = values_of(&plan.interface, record)
                        .map_err(|why| bad(format!("`{}`: {why}", record.name)))?;
                    Ok(NamedRecord { name: record.name.clone(), values })
                };
                records.iter().map(named).collect::<Result<_, _>>().map(Input::Records)
            }
        }
    }

    /// The right answers of a data package, if it has any; not getting them is no reason to fail.
    async fn fetch_labels(
        self: &Arc<Self>,
        package: PackageId,
        manifest: &Manifest,
    ) -> BTreeMap<String, String> {
        let labels = manifest.records.as_ref().and_then(|records| records.labels.as_ref());
        let Some(file) = labels.and_then(|name| manifest.file(name)) else {
            return BTreeMap::new();
        };
        match self.fetch_file(package, file).await {
            Ok(()) => self.read_labels(file),
            Err(error) => {
                info!(%error, "the labels are not here, so no accuracy is computed");
                BTreeMap::new()
            }
        }
    }

    /// Every node that could execute, as this node sees it.
    pub(in crate::app) async fn candidates(&self, plan: &Plan) -> Vec<Candidate> {
        let rtts: BTreeMap<PublicKey, u64> = self
            .overlay
            .peers()
            .await
            .into_iter()
            .filter_map(|info| Some((info.peer, u64::try_from(info.rtt?.as_micros()).ok()?)))
            .collect();
        let core = self.core();
        let me = core.identity();
        let producers: Vec<PublicKey> = plan
            .stages
            .iter()
            .flat_map(|stage| core.catalog().of_package(stage.package))
            .filter_map(|brief| brief.root())
            .collect();
        let candidate = |(node, view): (&PublicKey, &guildhall_core::NodeView)| {
            let member = core.federation().member(&view.root)?;
            let is_self = *node == me.node.public();
            let held = |stage: &&guildhall_protocol::wire::JobStage| core.holds(&stage.package);
            Some(Candidate {
                node: *node,
                peer_id: peer_id_string(node),
                org: member.org.clone(),
                is_self,
                is_producer_org: producers.contains(&view.root),
                offer: view.body.offer.clone(),
                engines: view.body.engines.clone(),
                isolation: Level::of_names(&view.body.isolation).number(),
                draining: view.body.draining,
                connected: is_self || core.authority(node).is_some(),
                // Other nodes do not say what they hold.
                holds: is_self.then(|| plan.stages.iter().filter(held).count()),
                warm: None,
                load_percent: None,
                rtt_us: rtts.get(node).copied(),
            })
        };
        core.nodes().filter_map(candidate).collect()
    }

    /// Nodes of the orgs that listed the packages of a run, and this one.
    fn listing_nodes(&self, plan: &Plan, input: &Input) -> Vec<PublicKey> {
        let core = self.core();
        let data = match input {
            Input::Package { package, .. } => Some(*package),
            Input::Records(_) => None,
        };
        let packages = plan.stages.iter().map(|stage| stage.package).chain(data);
        let roots: Vec<PublicKey> = packages
            .flat_map(|package| core.catalog().of_package(package).filter_map(|brief| brief.root()))
            .collect();
        let nodes =
            core.nodes().filter(|(_, view)| roots.contains(&view.root)).map(|(node, _)| *node);
        nodes.chain([core.identity().node.public()]).collect()
    }
}

/// The limits in force, a stage each, as the first executor signed for them.
fn limits_of(entry: &Entry) -> Vec<Limits> {
    let kept = lock(&entry.state);
    let first = kept.report.receipts.first();
    first.iter().flat_map(|receipt| &receipt.jobs).map(|job| job.limits).collect()
}

/// A record's values, by port.
fn values_of(interface: &Interface, record: &InputRecord) -> Result<Vec<PortValue>, String> {
    let values = match &record.value {
        Some(value) => {
            let bytes = BASE64
                .decode(value.as_bytes())
                .map_err(|error| format!("it is not base64: {error}"))?;
            let port = pipeline::fed_port(interface)
                .map_err(|ports| format!("a single value is for one of {} inputs", ports.len()))?;
            vec![PortValue::new(port.name.clone(), bytes)]
        }
        None => values::record_from_json(&interface.inputs, &record.values)
            .map_err(|error| error.to_string())?,
    };
    match PortValue::len_bytes(&values) > VALUE_MAX_BYTES {
        true => Err(format!("it is longer than {VALUE_MAX_BYTES} bytes")),
        false => Ok(values),
    }
}

/// What the only stage of a run is called when the package is no pipeline: as the person called it.
pub(super) fn stage_name(reference: &Reference) -> &str {
    match reference {
        Reference::Named { name, .. } => name.as_str(),
        Reference::Package(_) => "package",
    }
}

pub(super) fn failure(cause: &str, message: String) -> RunFailure {
    RunFailure {
        cause: cause.to_owned(),
        message,
        stage: None,
        record: None,
        limit_ms: None,
        stopped_after_ms: None,
    }
}
