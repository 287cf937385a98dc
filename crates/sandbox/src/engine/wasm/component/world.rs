//! What a component sees: `guildhall:stage` and the parts of WASI 0.2 that lead nowhere outside.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use guildhall_protocol::contract::Determinism;
use wasmtime::component::{HasData, HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::sync::io as sync_io;
use wasmtime_wasi::p2::bindings::{cli, random};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{HostMonotonicClock as _, WasiCtx, WasiCtxView, WasiView, async_trait};

use super::bindings::{host, types};
use super::files::{self, Files};
use crate::engine::wasm::Own;
use crate::engine::wasm::folder::Folder;
use crate::engine::wasm::limit::Limit;
use crate::engine::wasm::nn::Models;
use crate::engine::wasm::world::{VirtualClock, world};

/// Most things of the host that a call holds at a time: blobs, streams, pollables, tensors, open files. `wit/stage.wit`
/// promises 1,024 blobs; the rest is for the language's runtime.
const THINGS_MAX: usize = 1_024 + 256;

/// Most figures that a call may report.
const METRICS_MAX: usize = 256;

/// Longest name of a figure, bytes.
const METRIC_NAME_MAX_BYTES: usize = 64;

/// Everything of one call that is not the guest's own memory.
pub(super) struct World {
    wasi: WasiCtx,
    pub(super) table: ResourceTable,
    pub(super) limit: Limit,
    pub(super) stderr: MemoryOutputPipe,
    clock: VirtualClock,
    /// How much may still be appended to blobs, bytes.
    pub(super) room_bytes: u64,
    /// What the guest reported, in order.
    pub(super) metrics: Vec<(String, f64)>,
    /// When to say that the time is nearly over; never where that would make a difference between machines.
    hurry: Option<(Instant, Duration)>,
    /// Models that it may ask, if it may ask any.
    pub(super) nn: Option<Arc<Models>>,
    /// Files that it may read, if it may read any.
    folder: Option<Arc<Folder>>,
}

/// What a call may use and see.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) seed: u64,
    pub(super) memory_bytes: u64,
    /// Longest outputs of all records together, bytes.
    pub(super) output_bytes: u64,
    pub(super) determinism: Determinism,
    /// What it may use of its package.
    pub(super) own: &'a Own,
}

impl World {
    /// A world for one call; none if what it has of its package does not fit into its memory.
    pub(super) fn new(terms: &Terms<'_>, started: Instant, limit_ms: u64) -> Option<Self> {
        let clock = VirtualClock::default();
        let (mut builder, stderr) = world(terms.seed, &clock);
        let mut limit = Limit::new(terms.memory_bytes);
        let Own { models, folder } = terms.own;
        let fits = Models::count(models.as_ref(), &mut limit)
            && Folder::count(folder.as_ref(), &mut limit);
        if !fits {
            return None;
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(THINGS_MAX);
        // A tenth of the time is left: enough to put together what there is.
        let hurry = Duration::from_millis(limit_ms.saturating_sub(limit_ms / 10));
        Some(Self {
            wasi: builder.build(),
            table,
            limit,
            nn: models.clone(),
            folder: folder.clone(),
            stderr,
            clock,
            room_bytes: terms.output_bytes,
            metrics: Vec::new(),
            hurry: (terms.determinism != Determinism::Bitwise).then_some((started, hurry)),
        })
    }

    /// What it sees of files.
    pub(super) fn files(&mut self) -> Files<'_> {
        Files { folder: self.folder.as_ref(), table: &mut self.table }
    }
}

impl WasiView for World {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Makes available what [`crate::engine::wasm::gate`] lets through, and nothing else.
pub(super) fn add_to_linker(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    let l = linker;
    types::add_to_linker::<World, HasSelf<World>>(l, |world| world)?;
    host::add_to_linker::<World, HasSelf<World>>(l, |world| world)?;
    wasmtime_wasi_io::bindings::wasi::io::error::add_to_linker::<World, Table>(l, table)?;
    sync_io::poll::add_to_linker::<World, Table>(l, table)?;
    sync_io::streams::add_to_linker::<World, Table>(l, table)?;
    wall_clock::add_to_linker::<World, WasiClocks>(l, World::clocks)?;
    monotonic_clock::add_to_linker::<World, Clocks>(l, |world| Waiting {
        clock: &world.clock,
        table: &mut world.table,
    })?;
    random::random::add_to_linker::<World, WasiRandom>(l, |world| world.wasi.random())?;
    random::insecure::add_to_linker::<World, WasiRandom>(l, |world| world.wasi.random())?;
    random::insecure_seed::add_to_linker::<World, WasiRandom>(l, |world| world.wasi.random())?;
    files::add_to_linker(l)?;
    cli::environment::add_to_linker::<World, WasiCli>(l, World::cli)?;
    cli::exit::add_to_linker::<World, WasiCli>(l, World::cli)?;
    cli::stdin::add_to_linker::<World, WasiCli>(l, World::cli)?;
    cli::stdout::add_to_linker::<World, WasiCli>(l, World::cli)?;
    cli::stderr::add_to_linker::<World, WasiCli>(l, World::cli)?;
    cli::terminal_input::add_to_linker::<World, WasiCli>(l, World::cli)?;
    cli::terminal_output::add_to_linker::<World, WasiCli>(l, World::cli)?;
    cli::terminal_stdin::add_to_linker::<World, WasiCli>(l, World::cli)?;
    cli::terminal_stdout::add_to_linker::<World, WasiCli>(l, World::cli)?;
    cli::terminal_stderr::add_to_linker::<World, WasiCli>(l, World::cli)
}

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

fn table(world: &mut World) -> &mut ResourceTable {
    &mut world.table
}

impl types::Host for World {}

impl host::Host for World {
    fn progress(&mut self, _done: u64, _total: u64) -> wasmtime::Result<()> {
        // A call is short, and nobody looks into it while it lasts.
        Ok(())
    }

    fn metric(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        let is_name = (1..=METRIC_NAME_MAX_BYTES).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if is_name && value.is_finite() && self.metrics.len() < METRICS_MAX {
            self.metrics.push((name, value));
        }
        Ok(())
    }

    fn cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.hurry.is_some_and(|(started, hurry)| started.elapsed() >= hurry))
    }
}

struct Clocks;

impl HasData for Clocks {
    type Data<'a> = Waiting<'a>;
}

/// `wasi:clocks/monotonic-clock`, with pollables that move the clock.
struct Waiting<'a> {
    clock: &'a VirtualClock,
    table: &'a mut ResourceTable,
}

impl monotonic_clock::Host for Waiting<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.now())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.resolution())
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let moment = self.table.push(Moment { clock: self.clock.clone(), nanos: when })?;
        subscribe(self.table, moment)
    }

    fn subscribe_duration(&mut self, nanos: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let when = self.clock.nanos().saturating_add(nanos);
        self.subscribe_instant(when)
    }
}

/// A moment of the virtual clock to wait for.
struct Moment {
    clock: VirtualClock,
    nanos: u64,
}

#[async_trait]
impl Pollable for Moment {
    /// `poll` asks everything that it waits for, and again as long as nothing is ready. Streams are ready at once, so a
    /// second round means that only moments are waited for: then the nearest one comes. A third round means that the
    /// nearest wish is left from something that nobody waits for any more.
    async fn ready(&mut self) {
        // Looking moves the clock, so that a loop of looks ends.
        if self.clock.now() < self.nanos {
            self.clock.wish(self.nanos);
            next_round().await;
        }
        if self.clock.nanos() < self.nanos && self.clock.wished() != self.nanos {
            next_round().await;
        }
        self.clock.wait_until(self.nanos);
    }
}

/// Not ready now; ask again.
async fn next_round() {
    let mut was_asked = false;
    poll_fn(|context| {
        if was_asked {
            return Poll::Ready(());
        }
        was_asked = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
