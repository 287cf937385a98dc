//! What a plain stage sees: preview 1 with a value on stdin, room for one on stdout, arguments, and the [`super::world`].
//!
//! `wasmtime-wasi` provides all of it but waiting, which here moves the clock instead of taking time.

use tokio::io::AsyncWrite;
use wasmtime::{Caller, Extern, Linker};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p1::{WasiP1Ctx, add_to_linker_sync};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamError, StreamResult};

use super::Own;
use super::folder::{Folder, Open};
use super::limit::Limit;
use super::nn::Models;
use super::nn_module::Sessions;
use super::world::{VirtualClock, world};

/// Most subscriptions in one `poll_oneoff`.
const SUBSCRIPTIONS_MAX: u32 = 1_024;

/// Everything of one record's execution that is not the guest's own memory.
pub(super) struct Host {
    wasi: WasiP1Ctx,
    pub(super) limit: Limit,
    pub(super) stdout: MemoryOutputPipe,
    pub(super) stderr: MemoryOutputPipe,
    clock: VirtualClock,
    pub(super) nn: Sessions,
    /// What its calls about files see, where it sees any.
    pub(super) open: Open,
}

/// What one record's execution may use.
pub(super) struct Terms<'a> {
    pub(super) arguments: &'a [String],
    pub(super) seed: u64,
    pub(super) memory_bytes: u64,
    pub(super) output_bytes: u64,
    pub(super) own: &'a Own,
}

impl Host {
    /// A world for one record; none if what it has of its package does not fit into its memory.
    pub(super) fn new(input: Vec<u8>, terms: &Terms<'_>) -> Option<Self> {
        let Terms { arguments, seed, memory_bytes, output_bytes, own } = *terms;
        let mut limit = Limit::new(memory_bytes);
        let fits = Models::count(own.models.as_ref(), &mut limit)
            && Folder::count(own.folder.as_ref(), &mut limit);
        if !fits {
            return None;
        }
        // Whoever sees files reads stdin by the same calls.
        let (piped, input) =
            if own.folder.is_some() { (Vec::new(), input) } else { (input, Vec::new()) };
        // One byte more than allowed tells too long from just long enough.
        let room = usize::try_from(output_bytes).unwrap_or(usize::MAX).saturating_add(1);
        let stdout = MemoryOutputPipe::new(room);
        let clock = VirtualClock::default();
        let (mut builder, stderr) = world(seed, &clock);
        let wasi = builder
            .args(arguments)
            .stdin(MemoryInputPipe::new(piped))
            .stdout(Stdout(stdout.clone()))
            .build_p1();
        let nn = Sessions::new(own.models.clone());
        let open = Open::new(own.folder.clone(), input);
        Some(Self { wasi, limit, stdout, stderr, clock, nn, open })
    }
}

/// Room for one value. Who writes more than there is room for is ended at once: it may be about to write for ever.
#[derive(Clone)]
struct Stdout(MemoryOutputPipe);

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.0.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.check_write().map_err(|_| StreamError::trap("there is no room left on stdout"))
    }
}

#[async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {}
}

/// Makes preview 1 available to modules, with our way of waiting.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    add_to_linker_sync(linker, |host: &mut Host| &mut host.wasi)?;
    linker.allow_shadowing(true);
    linker.func_wrap("wasi_snapshot_preview1", "poll_oneoff", poll_oneoff)?;
    Ok(())
}

/// Error numbers of preview 1.
mod errno {
    pub(super) const SUCCESS: i32 = 0;
    pub(super) const FAULT: i32 = 21;
    pub(super) const INVALID: i32 = 28;
}

/// One `subscription` of preview 1: 48 bytes, of which these matter.
struct Subscription {
    userdata: [u8; 8],
    /// 0 clock, 1 readable, 2 writable.
    kind: u8,
    timeout_nanos: u64,
    is_absolute: bool,
}

impl Subscription {
    const LEN_BYTES: usize = 48;

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            userdata: bytes.get(0..8)?.try_into().ok()?,
            kind: *bytes.get(8)?,
            timeout_nanos: u64::from_le_bytes(bytes.get(24..32)?.try_into().ok()?),
            is_absolute: bytes.get(40)? & 1 == 1,
        })
    }

    /// The `event` that answers it: 32 bytes, no error, nothing to say about sizes.
    fn event(&self) -> [u8; 32] {
        let mut event = [0; 32];
        for (to, from) in event.iter_mut().zip(self.userdata) {
            *to = from;
        }
        if let Some(kind) = event.get_mut(10) {
            *kind = self.kind;
        }
        event
    }
}

/// `poll_oneoff`: streams are always ready; if only clocks are waited for, the first of them is moved to.
fn poll_oneoff(
    mut caller: Caller<'_, Host>,
    input: u32,
    output: u32,
    count: u32,
    written: u32,
) -> i32 {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return errno::INVALID;
    }
    match try_poll(&mut caller, input, output, count, written) {
        Some(()) => errno::SUCCESS,
        None => errno::FAULT,
    }
}

/// `None` if a pointer leads outside the guest's memory.
fn try_poll(
    caller: &mut Caller<'_, Host>,
    input: u32,
    output: u32,
    count: u32,
    written: u32,
) -> Option<()> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory)?;
    let (input, output, written) = (
        usize::try_from(input).ok()?,
        usize::try_from(output).ok()?,
        usize::try_from(written).ok()?,
    );
    let len = usize::try_from(count).ok()?.checked_mul(Subscription::LEN_BYTES)?;
    let bytes = memory.data(&*caller).get(input..input.checked_add(len)?)?;
    let wanted: Vec<_> =
        bytes.chunks(Subscription::LEN_BYTES).map(Subscription::read).collect::<Option<_>>()?;
    let mut ready: Vec<&Subscription> = wanted.iter().filter(|one| one.kind != 0).collect();
    if ready.is_empty() {
        let clock = caller.data().clock.clone();
        let now = clock.nanos();
        let due = |one: &Subscription| match one.is_absolute {
            true => one.timeout_nanos.saturating_sub(now),
            false => one.timeout_nanos,
        };
        let first = wanted.iter().min_by_key(|one| due(one))?;
        clock.wait(due(first));
        ready.push(first);
    }
    let events: Vec<u8> = ready.iter().flat_map(|one| one.event()).collect();
    let number = u32::try_from(ready.len()).ok()?.to_le_bytes();
    let data = memory.data_mut(caller);
    data.get_mut(output..output.checked_add(events.len())?)?.copy_from_slice(&events);
    data.get_mut(written..written.checked_add(number.len())?)?.copy_from_slice(&number);
    Some(())
}
