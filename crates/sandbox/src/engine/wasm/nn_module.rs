//! wasi-nn for plain stages: its first form, `wasi_ephemeral_nn`, whose calls take numbers and pointers.
//!
//! Every number is the guest's. A pointer outside its memory, a handle or a place that does not exist, a tensor that
//! contradicts itself: each is an error number for the guest, nothing else.
//!
//! | call | here |
//! |---|---|
//! | `load` | always unsupported: models come with the package |
//! | `load_by_name` | the model that the manifest gives this name |
//! | `init_execution_context` | a session: inputs and outputs of one model |
//! | `set_input` | copies a tensor; by place, in the graph's order |
//! | `compute` | asks the model with the inputs as they are; they stay |
//! | `get_output` | copies a result's bytes; by place, in the graph's order; texts are unsupported |

use std::sync::Arc;

use guildhall_protocol::interface::ElementType;
use wasmtime::{Caller, Linker, Memory};

use super::guest;
use super::limit::Limit;
use super::nn::{Models, SESSIONS_MAX, Wrong, ask, len_bytes};
use super::preview1::Host;
use crate::engine::onnx::{RANK_MAX, Value, check_len};

/// The module that the calls are imported from.
const MODULE: &str = "wasi_ephemeral_nn";

/// Longest name that is looked for, bytes: longer than any that a manifest may give.
const NAME_MAX_BYTES: u32 = 1_024;

/// Length of a tensor's description in the guest's memory, bytes: pointer and length of its dimensions, its type, and
/// pointer and length of its data.
const TENSOR_BYTES: u32 = 20;

/// Error numbers of wasi-nn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
enum Errno {
    Success = 0,
    InvalidArgument = 1,
    MissingMemory = 3,
    RuntimeError = 5,
    UnsupportedOperation = 6,
    TooLarge = 7,
    NotFound = 8,
}

impl From<Wrong> for Errno {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Argument => Self::InvalidArgument,
            Wrong::Runtime => Self::RuntimeError,
            Wrong::Unsupported => Self::UnsupportedOperation,
            Wrong::TooLarge => Self::TooLarge,
            Wrong::NotFound => Self::NotFound,
        }
    }
}

/// What a record's code has open of wasi-nn.
pub(super) struct Sessions {
    models: Option<Arc<Models>>,
    open: Vec<Session>,
}

struct Session {
    /// The model's place.
    model: usize,
    inputs: Vec<Option<Value>>,
    /// None before the first `compute` that worked.
    outputs: Option<Vec<Option<Value>>>,
}

impl Sessions {
    /// None open yet.
    pub(super) const fn new(models: Option<Arc<Models>>) -> Self {
        Self { models, open: Vec::new() }
    }

    fn find(&self, name: &str) -> Result<u32, Errno> {
        let found = self.models.as_ref().and_then(|models| models.find(name));
        let found = found.ok_or(Errno::NotFound)?;
        u32::try_from(found).map_err(|_| Errno::TooLarge)
    }

    fn start(&mut self, graph: u32) -> Result<u32, Errno> {
        let place = usize::try_from(graph).map_err(|_| Errno::InvalidArgument)?;
        let model = self.models.as_ref().and_then(|models| models.at(place));
        let inputs = model.ok_or(Errno::InvalidArgument)?.inputs();
        if self.open.len() >= SESSIONS_MAX {
            return Err(Errno::TooLarge);
        }
        let handle = u32::try_from(self.open.len()).map_err(|_| Errno::TooLarge)?;
        let inputs = std::iter::repeat_with(|| None).take(inputs).collect();
        self.open.push(Session { model: place, inputs, outputs: None });
        Ok(handle)
    }

    fn session(&mut self, handle: u32) -> Result<&mut Session, Errno> {
        let at = usize::try_from(handle).map_err(|_| Errno::InvalidArgument)?;
        self.open.get_mut(at).ok_or(Errno::InvalidArgument)
    }

    fn set_input(
        &mut self,
        handle: u32,
        index: u32,
        value: Value,
        limit: &mut Limit,
    ) -> Result<(), Errno> {
        let at = usize::try_from(index).map_err(|_| Errno::InvalidArgument)?;
        let session = self.session(handle)?;
        let place = session.inputs.get_mut(at).ok_or(Errno::InvalidArgument)?;
        limit.give_back(place.as_ref().map_or(0, len_bytes));
        // What was there is gone, whether or not there is room for the new one.
        *place = None;
        if !limit.take(len_bytes(&value)) {
            return Err(Errno::TooLarge);
        }
        *place = Some(value);
        Ok(())
    }

    fn compute(&mut self, handle: u32, limit: &mut Limit) -> wasmtime::Result<Result<(), Errno>> {
        let models = self.models.clone();
        let session = match self.session(handle) {
            Ok(session) => session,
            Err(errno) => return Ok(Err(errno)),
        };
        let Some(model) = models.as_ref().and_then(|models| models.at(session.model)) else {
            return Ok(Err(Errno::InvalidArgument));
        };
        for old in session.outputs.take().into_iter().flatten().flatten() {
            limit.give_back(len_bytes(&old));
        }
        let given: Vec<Option<&Value>> = session.inputs.iter().map(Option::as_ref).collect();
        match ask(model, &given, limit)? {
            Ok(outputs) => {
                session.outputs = Some(outputs);
                Ok(Ok(()))
            }
            // The first form has no place for words.
            Err((wrong, _)) => Ok(Err(wrong.into())),
        }
    }

    fn output(&mut self, handle: u32, index: u32) -> Result<&Value, Errno> {
        let at = usize::try_from(index).map_err(|_| Errno::InvalidArgument)?;
        let outputs = self.session(handle)?.outputs.as_ref().ok_or(Errno::RuntimeError)?;
        let output = outputs.get(at).ok_or(Errno::InvalidArgument)?;
        output.as_ref().ok_or(Errno::UnsupportedOperation)
    }
}

/// Makes wasi-nn available to modules.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "load", |_: u32, _: u32, _: u32, _: u32, _: u32| {
        Errno::UnsupportedOperation as i32
    })?;
    linker.func_wrap(MODULE, "load_by_name", |caller: Caller<'_, Host>, name, len, out| {
        number(load_by_name(caller, name, len, out))
    })?;
    linker.func_wrap(
        MODULE,
        "init_execution_context",
        |caller: Caller<'_, Host>, graph, out| number(init_execution_context(caller, graph, out)),
    )?;
    linker.func_wrap(MODULE, "set_input", |caller: Caller<'_, Host>, context, index, tensor| {
        number(set_input(caller, context, index, tensor))
    })?;
    linker.func_wrap(MODULE, "compute", |mut caller: Caller<'_, Host>, context: u32| {
        let Host { nn, limit, .. } = caller.data_mut();
        nn.compute(context, limit).map(number)
    })?;
    linker.func_wrap(
        MODULE,
        "get_output",
        |caller: Caller<'_, Host>, context, index, buffer, room, out| {
            number(get_output(caller, context, index, Buffer { at: buffer, room }, out))
        },
    )?;
    Ok(())
}

fn number(result: Result<(), Errno>) -> i32 {
    result.err().unwrap_or(Errno::Success) as i32
}

fn load_by_name(mut caller: Caller<'_, Host>, name: u32, len: u32, out: u32) -> Result<(), Errno> {
    let memory = memory(&mut caller)?;
    if len > NAME_MAX_BYTES {
        return Err(Errno::NotFound);
    }
    let name = bytes(memory.data(&caller), name, len)?;
    let name = std::str::from_utf8(name).map_err(|_| Errno::InvalidArgument)?;
    let handle = caller.data().nn.find(name)?;
    put(memory.data_mut(&mut caller), out, &handle.to_le_bytes())
}

fn init_execution_context(mut caller: Caller<'_, Host>, graph: u32, out: u32) -> Result<(), Errno> {
    let memory = memory(&mut caller)?;
    // Else the session would be there, and nobody would know its handle.
    bytes(memory.data(&caller), out, 4)?;
    let handle = caller.data_mut().nn.start(graph)?;
    put(memory.data_mut(&mut caller), out, &handle.to_le_bytes())
}

fn set_input(
    mut caller: Caller<'_, Host>,
    context: u32,
    index: u32,
    tensor: u32,
) -> Result<(), Errno> {
    let memory = memory(&mut caller)?;
    let value = tensor_at(memory.data(&caller), tensor)?;
    let Host { nn, limit, .. } = caller.data_mut();
    nn.set_input(context, index, value, limit)
}

/// Where the guest wants bytes, and how many it has room for.
struct Buffer {
    at: u32,
    room: u32,
}

fn get_output(
    mut caller: Caller<'_, Host>,
    context: u32,
    index: u32,
    buffer: Buffer,
    out: u32,
) -> Result<(), Errno> {
    let memory = memory(&mut caller)?;
    let (data, host) = memory.data_and_store_mut(&mut caller);
    let found = &host.nn.output(context, index)?.bytes;
    let len = u32::try_from(found.len()).map_err(|_| Errno::TooLarge)?;
    if len > buffer.room {
        return Err(Errno::TooLarge);
    }
    bytes(data, out, 4)?;
    put(data, buffer.at, found)?;
    put(data, out, &len.to_le_bytes())
}

fn memory(caller: &mut Caller<'_, Host>) -> Result<Memory, Errno> {
    guest::memory(caller).ok_or(Errno::MissingMemory)
}

fn bytes(data: &[u8], at: u32, len: u32) -> Result<&[u8], Errno> {
    guest::bytes(data, at, len).ok_or(Errno::MissingMemory)
}

fn put(data: &mut [u8], at: u32, bytes: &[u8]) -> Result<(), Errno> {
    guest::put(data, at, bytes).ok_or(Errno::MissingMemory)
}

/// Copies a tensor, if it is one.
fn tensor_at(data: &[u8], at: u32) -> Result<Value, Errno> {
    let described = bytes(data, at, TENSOR_BYTES)?;
    let word = |from: usize| -> Result<u32, Errno> {
        let four = described.get(from..).and_then(<[u8]>::first_chunk).copied();
        four.map(u32::from_le_bytes).ok_or(Errno::MissingMemory)
    };
    let (dims, rank, from, len) = (word(0)?, word(4)?, word(12)?, word(16)?);
    let dtype = match described.get(8) {
        Some(0) => ElementType::F16,
        Some(1) => ElementType::F32,
        Some(2) => ElementType::F64,
        Some(3) => ElementType::U8,
        Some(4) => ElementType::I32,
        Some(5) => ElementType::I64,
        _ => return Err(Errno::InvalidArgument),
    };
    if usize::try_from(rank).map_or(true, |rank| rank > RANK_MAX) {
        return Err(Errno::InvalidArgument);
    }
    let dims = bytes(data, dims, rank.saturating_mul(4))?;
    let (dims, _) = dims.as_chunks::<4>();
    let dims: Vec<u32> = dims.iter().copied().map(u32::from_le_bytes).collect();
    let elements = bytes(data, from, len)?;
    // Before it is copied: what contradicts itself costs nothing.
    check_len(dtype, &dims, elements.len()).map_err(|_| Errno::InvalidArgument)?;
    Ok(Value { dtype, dims, bytes: elements.to_vec() })
}
