//! Asking for a run: resolve, check, plan, place, hand over the records, take the outputs, sign the receipt.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use data_encoding::BASE64;
use guildhall_gateway::ApiError;
use guildhall_overlay::peer_id_string;
use guildhall_pipeline::run::{ATTEMPTS_MAX, Spec, State};
use guildhall_pipeline::{self as pipeline, Candidate, Plan};
use guildhall_protocol::api::{RunFailure, RunInput, RunReport, RunRequest, RunState};
use guildhall_protocol::contract::LimitSet;
use guildhall_protocol::interface::PortType;
use guildhall_protocol::limits::{JOB_MAX_RECORDS, VALUE_MAX_BYTES};
use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::name::Reference;
use guildhall_protocol::{Hash, PackageId, PublicKey, RunId};
use guildhall_store::Batch;
use tracing::info;

use super::super::{App, lock};
use super::attempt::{Attempt, Ended};
use super::input::{Input, record_files};
use super::outputs::Outputs;
use super::{Entry, Kept};
use crate::clock;

/// Everything that a run needs to know before it is handed to a node.
pub(super) struct Prepared {
    pub(super) run: RunId,
    /// Key of the edge commitments.
    pub(super) nonce: Hash,
    pub(super) plan: Plan,
    pub(super) input: Input,
    pub(super) reference: Reference,
    /// What the requester asked for.
    pub(super) limits: LimitSet,
    pub(super) output_type: PortType,
    /// Packages and the orgs' nodes that listed them: whom an executor should ask first.
    pub(super) holders: Vec<PublicKey>,
    pub(super) labels: BTreeMap<String, String>,
}

impl App {
    /// Checks everything that can be checked before the run, then starts it. Returns when it is under way.
    pub(in crate::app) async fn start_run(
        self: &Arc<Self>,
        request: RunRequest,
    ) -> Result<RunId, ApiError> {
        let package = self.resolve(&request.reference).await?;
        let manifest = self.manifest_of(package).await?;
        let stages = self.stages_of(stage_name(&request.reference), package, &manifest).await?;
        let plan = pipeline::plan(&stages).map_err(|error| {
            ApiError::failed(
                "not_runnable",
                format!("{} cannot be run: {error}", request.reference),
            )
        })?;
        let input = self.prepare_input(&request.input, &plan).await?;
        let candidates = self.candidates(&plan).await;
        let own_org = self.core().identity().org.clone();
        let placed =
            pipeline::place(&plan, &own_org, &request.on, &candidates).map_err(|error| {
                ApiError::failed("no_executor", error.to_string()).with_help("guild peers")
            })?;
        let output_type = plan.interface.outputs.first().map(|port| port.port_type.clone());
        let labels = match &input {
            Input::Package { package, manifest } => self.fetch_labels(*package, manifest).await,
            Input::Records(_) => BTreeMap::new(),
        };
        let prepared = Prepared {
            run: RunId(clock::random()),
            nonce: clock::random(),
            holders: self.listing_nodes(&plan, &input),
            output_type: output_type.unwrap_or(PortType::Text),
            plan,
            input,
            labels,
            reference: request.reference,
            limits: request.limits,
        };
        let data = match &prepared.input {
            Input::Package { package, .. } => Some(*package),
            Input::Records(_) => None,
        };
        let run = self.begin(prepared, placed).await?;
        for used in [package].into_iter().chain(data) {
            self.used(request.query_id, used).await;
        }
        Ok(run)
    }

    async fn begin(
        self: &Arc<Self>,
        prepared: Prepared,
        placed: Vec<pipeline::Placed>,
    ) -> Result<RunId, ApiError> {
        if !self.make_room().await {
            return Err(ApiError::unavailable("too_many_runs", "too many runs are under way"));
        }
        let run = prepared.run;
        let report = RunReport {
            run_id: run,
            reference: prepared.reference.clone(),
            state: RunState::Running,
            executed_on: None,
            records: 0,
            seconds: 0.0,
            accuracy: None,
            failure: None,
            receipts: Vec::new(),
            log: Vec::new(),
        };
        let kept = Kept { report, outputs: None, started_ms: clock::now_ms() };
        let entry = Arc::new(Entry { id: run, started: Instant::now(), state: Mutex::new(kept) });
        lock(&self.runs).insert(run, Arc::clone(&entry));
        self.save_run(&entry).await;
        let app = Arc::clone(self);
        self.tasks.spawn("run", async move {
            tokio::select! {
                biased;
                () = app.tasks.token().cancelled() => {}
                () = app.run_to_the_end(&prepared, placed, &entry) => {}
            }
        });
        Ok(run)
    }

    /// Runs, keeps what came out, and says how it ended.
    async fn run_to_the_end(
        self: &Arc<Self>,
        prepared: &Prepared,
        placed: Vec<pipeline::Placed>,
        entry: &Entry,
    ) {
        let outputs = Outputs::new(
            &self.store,
            prepared.input.names(),
            prepared.output_type.clone(),
            prepared.labels.clone(),
        );
        let ended = match outputs {
            Ok(mut outputs) => {
                let failed = self.run_anywhere(prepared, placed, entry, &mut outputs).await;
                self.keep_outputs(entry, outputs).await.err().or(failed)
            }
            Err(error) => Some(failure("storage", error.to_string())),
        };
        info!(run = %entry.id, cause = ended.as_ref().map(|failure| failure.cause.as_str()), "run ended");
        entry.update(|report| {
            report.state = if ended.is_none() { RunState::Completed } else { RunState::Failed };
            report.failure = ended;
        });
        self.save_run(entry).await;
    }

    /// Tries the nodes in turn, at most [`ATTEMPTS_MAX`], until one has done the run or the run itself is at fault;
    /// returns the failure.
    async fn run_anywhere(
        self: &Arc<Self>,
        prepared: &Prepared,
        placed: Vec<pipeline::Placed>,
        entry: &Entry,
        outputs: &mut Outputs,
    ) -> Option<RunFailure> {
        let mut state = State::new(Spec {
            run: prepared.run,
            nonce: prepared.nonce,
            requester: self.overlay.me(),
            packages: prepared.plan.stages.iter().map(|stage| stage.package).collect(),
            limits: prepared.plan.limits.clone(),
            asked: prepared.limits,
            records: Some(prepared.input.names().len() as u64),
            streamed: matches!(prepared.input, Input::Records(_)),
        });
        let mut last = failure("no_executor", "there was no node to ask".to_owned());
        for placed in placed {
            let peer_id = peer_id_string(&placed.node);
            if state.attempts() >= ATTEMPTS_MAX {
                entry.log(&format!("{ATTEMPTS_MAX} nodes were tried; the others are not asked"));
                break;
            }
            entry.log(&format!("{peer_id}: {}", placed.why));
            let attempt = Attempt { app: self, prepared, entry, node: placed.node };
            match attempt.run(&mut state, outputs).await {
                Ended::Completed => return None,
                Ended::Failed(failure) => return Some(failure),
                Ended::Elsewhere(why) => {
                    entry.log(&format!("{peer_id} did not do it: {}", why.message));
                    last = why;
                }
            }
        }
        // A stage that failed on the last node says more than that no node is left.
        Some(match last.stage {
            Some(_) => last,
            None => failure(
                "no_executor",
                format!("no node did the run; the last one said: {}", last.message),
            ),
        })
    }

    async fn keep_outputs(&self, entry: &Entry, outputs: Outputs) -> Result<(), RunFailure> {
        let storage =
            |error: String| failure("storage", format!("the outputs are not kept: {error}"));
        let staged = tokio::task::block_in_place(|| outputs.finish());
        let staged = staged.map_err(|error| storage(error.to_string()))?;
        let hash = staged.hash();
        // Until the run's state names it.
        let _it_stays = self.leases.hold([hash]);
        let mut batch = Batch::new();
        batch.add_blob(staged);
        self.store.commit(batch).await.map_err(|error| storage(error.to_string()))?;
        lock(&entry.state).outputs = Some(hash);
        Ok(())
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
                let decode = |record: &guildhall_protocol::api::InputRecord| {
                    let value = BASE64.decode(record.value.as_bytes()).map_err(|error| {
                        bad(format!("`{}` is not base64: {error}", record.name))
                    })?;
                    match value.len() > VALUE_MAX_BYTES {
                        true => Err(bad(format!(
                            "`{}` is longer than {VALUE_MAX_BYTES} bytes",
                            record.name
                        ))),
                        false => Ok((record.name.clone(), value)),
                    }
                };
                records.iter().map(decode).collect::<Result<_, _>>().map(Input::Records)
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
    async fn candidates(&self, plan: &Plan) -> Vec<Candidate> {
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
                connected: is_self || core.authority(node).is_some(),
                // Other nodes do not say what they hold.
                holds: is_self.then(|| plan.stages.iter().filter(held).count()),
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

/// What the only stage of a run is called when the package is no pipeline: as the person called it.
fn stage_name(reference: &Reference) -> &str {
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
