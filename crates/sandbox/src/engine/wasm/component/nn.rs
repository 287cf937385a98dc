//! wasi-nn for components: the draft in `wit/deps/wasi-nn.wit`, with the models of [`super::super::nn`].
//!
//! Sessions, tensors and errors are things in the call's table, whose number is bounded; tensors count as memory of the
//! stage as long as they are there.

use std::sync::Arc;

use guildhall_protocol::interface::ElementType;
use wasmtime::component::{HasSelf, Linker, Resource};

use self::bindings::wasi::nn::{errors, graph, inference, tensor};
use super::world::World;
use crate::engine::onnx::{RANK_MAX, Value};
use crate::engine::wasm::nn::{Models, Wrong, ask, len_bytes};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/wasi-nn.wit",
        world: "wasi:nn/ml",
        with: {
            "wasi:nn/graph.graph": super::Graph,
            "wasi:nn/inference.graph-execution-context": super::Session,
            "wasi:nn/tensor.tensor": super::Tensor,
            "wasi:nn/errors.error": super::Error,
        },
        imports: { default: trappable },
    });
}

/// The place of a model.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Graph(usize);

/// The place of the model that it asks.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Session(usize);

/// As the guest made it: nobody has looked whether its parts agree.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Tensor {
    dims: Vec<u32>,
    dtype: tensor::TensorType,
    data: Vec<u8>,
}

/// Why a request failed.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Error {
    code: errors::ErrorCode,
    why: String,
}

type Answer<T> = wasmtime::Result<Result<T, Resource<Error>>>;

/// Makes wasi-nn available to components.
pub(super) fn add_to_linker(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    tensor::add_to_linker::<World, HasSelf<World>>(linker, |world| world)?;
    graph::add_to_linker::<World, HasSelf<World>>(linker, |world| world)?;
    inference::add_to_linker::<World, HasSelf<World>>(linker, |world| world)?;
    errors::add_to_linker::<World, HasSelf<World>>(linker, |world| world)
}

impl World {
    fn wrong<T>(&mut self, wrong: Wrong, why: impl Into<String>) -> Answer<T> {
        let code = match wrong {
            Wrong::Argument => errors::ErrorCode::InvalidArgument,
            Wrong::Runtime => errors::ErrorCode::RuntimeError,
            Wrong::Unsupported => errors::ErrorCode::UnsupportedOperation,
            Wrong::TooLarge => errors::ErrorCode::TooLarge,
            Wrong::NotFound => errors::ErrorCode::NotFound,
        };
        Ok(Err(self.table.push(Error { code, why: why.into() })?))
    }

    /// The tensors of a request, in the model's order, and how much memory all that were handed over take. They are the
    /// guest's no more.
    fn given(
        &mut self,
        model: usize,
        named: Vec<inference::NamedTensor>,
        taken_bytes: &mut u64,
    ) -> wasmtime::Result<Result<Vec<Option<Value>>, String>> {
        let models = self.nn.clone();
        let model = models.as_ref().and_then(|models| models.at(model));
        let mut given: Vec<Option<Value>> = Vec::new();
        given.resize_with(model.map_or(0, |model| model.inputs()), || None);
        let mut first_wrong = None;
        for (name, tensor) in named {
            let Tensor { dims, dtype, data } = self.table.delete(tensor)?;
            *taken_bytes = taken_bytes.saturating_add(data.len() as u64);
            let place = model.and_then(|model| model.input(&name));
            let why = match (place.and_then(|at| given.get_mut(at)), element_type(dtype)) {
                (None, _) => format!("it has no input `{name}`"),
                (_, None) => format!("input `{name}`: BF16 is not taken"),
                (Some(Some(_)), _) => format!("input `{name}` is there twice"),
                (Some(place), Some(dtype)) => {
                    *place = Some(Value { dtype, dims, bytes: data });
                    continue;
                }
            };
            first_wrong.get_or_insert(why);
        }
        Ok(first_wrong.map_or(Ok(given), Err))
    }
}

impl tensor::Host for World {}

impl tensor::HostTensor for World {
    fn new(
        &mut self,
        dims: Vec<u32>,
        dtype: tensor::TensorType,
        data: Vec<u8>,
    ) -> wasmtime::Result<Resource<Tensor>> {
        if dims.len() > RANK_MAX || !self.limit.take(data.len() as u64) {
            // The draft has no other answer here than the end of the guest.
            return Err(wasmtime::Error::msg("the tensor is too large"));
        }
        Ok(self.table.push(Tensor { dims, dtype, data })?)
    }

    fn dimensions(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&tensor)?.dims.clone())
    }

    fn ty(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<tensor::TensorType> {
        Ok(self.table.get(&tensor)?.dtype)
    }

    fn data(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.table.get(&tensor)?.data.clone())
    }

    fn drop(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<()> {
        let Tensor { data, .. } = self.table.delete(tensor)?;
        self.limit.give_back(data.len() as u64);
        Ok(())
    }
}

impl graph::Host for World {
    fn load(
        &mut self,
        _parts: Vec<Vec<u8>>,
        _encoding: graph::GraphEncoding,
        _target: graph::ExecutionTarget,
    ) -> Answer<Resource<Graph>> {
        self.wrong(Wrong::Unsupported, "models come with the package; load them by name")
    }

    fn load_by_name(&mut self, name: String) -> Answer<Resource<Graph>> {
        match self.nn.as_ref().and_then(|models| models.find(&name)) {
            Some(place) => Ok(Ok(self.table.push(Graph(place))?)),
            None => self.wrong(Wrong::NotFound, "the manifest gives no model this name"),
        }
    }
}

impl graph::HostGraph for World {
    fn init_execution_context(&mut self, graph: Resource<Graph>) -> Answer<Resource<Session>> {
        let place = self.table.get(&graph)?.0;
        Ok(Ok(self.table.push(Session(place))?))
    }

    fn drop(&mut self, graph: Resource<Graph>) -> wasmtime::Result<()> {
        self.table.delete(graph)?;
        Ok(())
    }
}

impl inference::Host for World {}

impl inference::HostGraphExecutionContext for World {
    fn compute(
        &mut self,
        session: Resource<Session>,
        named: Vec<inference::NamedTensor>,
    ) -> Answer<Vec<inference::NamedTensor>> {
        let place = self.table.get(&session)?.0;
        let mut taken_bytes = 0;
        let answer = self.compute_with(place, named, &mut taken_bytes);
        self.limit.give_back(taken_bytes);
        answer
    }

    fn drop(&mut self, session: Resource<Session>) -> wasmtime::Result<()> {
        self.table.delete(session)?;
        Ok(())
    }
}

impl World {
    /// Answers a request; its tensors count until the answer is there.
    fn compute_with(
        &mut self,
        place: usize,
        named: Vec<inference::NamedTensor>,
        taken_bytes: &mut u64,
    ) -> Answer<Vec<inference::NamedTensor>> {
        let given = match self.given(place, named, taken_bytes)? {
            Ok(given) => given,
            Err(why) => return self.wrong(Wrong::Argument, why),
        };
        let models: Option<Arc<Models>> = self.nn.clone();
        let Some(model) = models.as_ref().and_then(|models| models.at(place)) else {
            return self.wrong(Wrong::NotFound, "there is no such model");
        };
        let given: Vec<Option<&Value>> = given.iter().map(Option::as_ref).collect();
        let found = match ask(model, &given, &mut self.limit)? {
            Ok(found) => found,
            Err((wrong, why)) => return self.wrong(wrong, why),
        };
        let mut outputs = Vec::new();
        for (at, value) in found.into_iter().enumerate() {
            let (Some(name), Some(value)) = (model.output(at), value) else { continue };
            let Some(dtype) = tensor_type(value.dtype) else {
                self.limit.give_back(len_bytes(&value));
                continue;
            };
            let Value { dims, bytes: data, .. } = value;
            outputs.push((name.to_owned(), self.table.push(Tensor { dims, dtype, data })?));
        }
        Ok(Ok(outputs))
    }
}

impl errors::Host for World {}

impl errors::HostError for World {
    fn code(&mut self, error: Resource<Error>) -> wasmtime::Result<errors::ErrorCode> {
        Ok(self.table.get(&error)?.code)
    }

    fn data(&mut self, error: Resource<Error>) -> wasmtime::Result<String> {
        Ok(self.table.get(&error)?.why.clone())
    }

    fn drop(&mut self, error: Resource<Error>) -> wasmtime::Result<()> {
        self.table.delete(error)?;
        Ok(())
    }
}

/// None for the one type that tract does not have.
const fn element_type(dtype: tensor::TensorType) -> Option<ElementType> {
    Some(match dtype {
        tensor::TensorType::Fp16 => ElementType::F16,
        tensor::TensorType::Fp32 => ElementType::F32,
        tensor::TensorType::Fp64 => ElementType::F64,
        tensor::TensorType::U8 => ElementType::U8,
        tensor::TensorType::I32 => ElementType::I32,
        tensor::TensorType::I64 => ElementType::I64,
        tensor::TensorType::Bf16 => return None,
    })
}

const fn tensor_type(dtype: ElementType) -> Option<tensor::TensorType> {
    Some(match dtype {
        ElementType::F16 => tensor::TensorType::Fp16,
        ElementType::F32 => tensor::TensorType::Fp32,
        ElementType::F64 => tensor::TensorType::Fp64,
        ElementType::U8 => tensor::TensorType::U8,
        ElementType::I32 => tensor::TensorType::I32,
        ElementType::I64 => tensor::TensorType::I64,
        _ => return None,
    })
}
