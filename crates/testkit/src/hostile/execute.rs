//! Executing a job in bad faith: an echo stage that is computed here, and the lie told on the way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use guildhall_protocol::contract::{Determinism, LimitSet, Limits, NodeLimits};
use guildhall_protocol::limits::FRAME_MAX_BYTES;
use guildhall_protocol::receipt::{EdgeHasher, JobStatement, Outcome, Used};
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::{
    ExecutorFrame, JobSpec, PartEnd, PartFrame, PartRecords, PortValue, RecordEnd, RecordFrame,
    RecordResult, RequesterFrame, ResultsFrame, decode_frame,
};
use guildhall_protocol::{Hash, PublicKey, RunId, SecretKey, cbor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Bench;
use super::work::Work;

/// Between two bytes of [`Work::Drip`].
const DRIP: Duration = Duration::from_millis(100);

/// Values without a byte of [`Work::ManyPorts`].
const PORTS: usize = 10_000;

/// One job on its stream.
pub(super) struct Job {
    pub(super) me: SecretKey,
    pub(super) requester: PublicKey,
    pub(super) work: Work,
    /// What the stage's producer allows.
    pub(super) producer: LimitSet,
    pub(super) bench: Arc<Bench>,
}

/// What was done so far, for the statement.
struct Account {
    spec: JobSpec,
    limits: Limits,
    input: EdgeHasher,
    output: EdgeHasher,
    records: u64,
}

impl Job {
    /// Executes until the other side has enough.
    pub(super) async fn serve(self, mut stream: guildhall_overlay::Stream) -> io::Result<()> {
        let RequesterFrame::Start(spec) = receive(&mut stream).await? else {
            return Err(io::Error::other("no start"));
        };
        match self.work {
            Work::NeverReady => return std::future::pending().await,
            Work::LateReady => self.bench.wait().await,
            _ => {}
        }
        let mut limits = Limits::smallest(self.producer, NodeLimits::default(), spec.limits);
        if self.work == Work::OtherLimits {
            limits.scoring_ms.value = limits.scoring_ms.value.saturating_mul(1_000);
        }
        send(&mut stream, &ExecutorFrame::Ready { limits: vec![limits] }).await?;
        let edge = || EdgeHasher::new(&spec.nonce);
        let (input, output) = (edge(), edge());
        let mut account = Account { spec: *spec, limits, input, output, records: 0 };
        loop {
            match receive(&mut stream).await? {
                RequesterFrame::Part(part) => self.score(&mut stream, &mut account, part).await?,
                RequesterFrame::End => break,
                _ => return Err(io::Error::other("out of turn")),
            }
        }
        match self.work {
            Work::Unsigned => return std::future::pending().await,
            Work::SignsLate => self.bench.sign_late().await,
            _ => {}
        }
        let jobs = vec![self.signed(&account)];
        send(&mut stream, &ExecutorFrame::Finished { jobs }).await?;
        let _countersigned = receive(&mut stream).await?;
        Ok(())
    }

    async fn score(
        &self,
        stream: &mut guildhall_overlay::Stream,
        account: &mut Account,
        part: PartFrame,
    ) -> io::Result<()> {
        let PartFrame { part, records: PartRecords::Values(records) } = part else {
            return Err(io::Error::other("no values"));
        };
        let nothing = ExecutorFrame::Results(ResultsFrame { part, records: Vec::new(), end: None });
        match self.work {
            Work::Mute => return std::future::pending().await,
            Work::Late => self.bench.wait().await,
            Work::Endless => loop {
                send(stream, &nothing).await?;
            },
            Work::HugeFrame => {
                stream.write_all(&[0xff; 4096]).await?;
                stream.flush().await?;
                return std::future::pending().await;
            }
            Work::Drip => {
                let len = u32::try_from(FRAME_MAX_BYTES).expect("a frame's length");
                stream.write_all(&len.to_be_bytes()).await?;
                loop {
                    stream.write_all(&[0xa5]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(DRIP).await;
                }
            }
            _ => {}
        }
        for RecordFrame { index, values } in records {
            if let Work::Slow(ms) = self.work {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            if self.work == Work::HangsUp(account.records) {
                return Err(io::Error::other("that is all"));
            }
            account.input.record(index, &values);
            let outputs = self.outputs(values);
            account.output.record(index, &outputs);
            account.records += 1;
            let index = index + u64::from(self.work == Work::Unasked);
            let result = RecordResult { index, end: RecordEnd::Values(outputs) };
            let result = ResultsFrame { part, records: vec![result], end: None };
            let again = if self.work == Work::Again { 1_000 } else { 1 };
            for _ in 0..again {
                send(stream, &ExecutorFrame::Results(result.clone())).await?;
            }
        }
        let end = Some(PartEnd { wall_us: 1 });
        let over = ResultsFrame { part, records: Vec::new(), end };
        send(stream, &ExecutorFrame::Results(over)).await
    }

    fn outputs(&self, values: Vec<PortValue>) -> Vec<PortValue> {
        let echo = values.into_iter().map(|value| PortValue::new("out", value.bytes));
        match self.work {
            Work::TooLong => {
                let most = self.producer.output_bytes.unwrap_or_default();
                let most = usize::try_from(most).expect("a test's limit fits memory");
                vec![PortValue::new("out", vec![7; most + 1])]
            }
            Work::ManyPorts => {
                echo.chain((0..PORTS).map(|at| PortValue::new(format!("p{at}"), []))).collect()
            }
            _ => echo.collect(),
        }
    }

    fn signed(&self, account: &Account) -> Signed {
        let other = Hash::of(b"other");
        let job = JobStatement {
            run: match self.work {
                Work::OtherRun => RunId(other),
                _ => account.spec.run,
            },
            stage: 0,
            package: account.spec.stages.first().expect("a stage").package,
            executor: self.me.public(),
            requester: self.requester,
            engine: "wasm/0".to_owned(),
            determinism: Determinism::Bitwise,
            isolation: Vec::new(),
            limits: account.limits,
            input: account.input.commitment(),
            output: match self.work {
                Work::OtherResults => other,
                _ => account.output.commitment(),
            },
            records: account.records,
            failed: 0,
            used: Used::default(),
            outcome: Outcome::Completed,
            number: 0,
            before: None,
            time_ms: 0,
        };
        match self.work {
            Work::OtherKey => Signed::new(&job, &SecretKey::from_seed(&[99; 32])),
            _ => Signed::new(&job, &self.me),
        }
    }
}

async fn send(stream: &mut guildhall_overlay::Stream, frame: &ExecutorFrame) -> io::Result<()> {
    let bytes = cbor::encode(frame);
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&len.to_be_bytes()).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn receive(stream: &mut guildhall_overlay::Stream) -> io::Result<RequesterFrame> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let mut bytes = vec![0; u32::from_be_bytes(head) as usize];
    stream.read_exact(&mut bytes).await?;
    decode_frame(&bytes).map_err(io::Error::other)
}
