//! The Open Inference Protocol, version 2 over REST, below `/oip`: a face for clients that know Triton, KServe or
//! MLServer.
//!
//! A listing is a model here: its ports are the protocol's inputs and outputs. [`request`] and [`tensor`] read what
//! comes, [`records`] makes records of it, [`outputs`] makes tensors of what came out, and [`answer`] writes them; all
//! of that are functions of their arguments. [`route`] is the only part that knows of HTTP and of the node.
//!
//! What is meant by shapes is described in `docs/open-inference.md`. Bytes that come are foreign: sizes and shapes that
//! they claim are compared with what is there before anything is made of them.
//!
//! | bound | where | at the bound |
//! |---|---|---|
//! | length of a body | [`request::BODY_MAX_BYTES`] | 413 |
//! | length of its JSON | [`request::JSON_MAX_BYTES`] | 413 |
//! | inputs, and outputs that are asked for | [`request::TENSORS_MAX`] | 400 |
//! | elements of `BYTES` | [`tensor::TEXTS_MAX`] | 400 |
//! | records | `INFER_MAX_RECORDS` | 400 |
//! | outputs together | [`outputs::OUTPUTS_MAX_BYTES`] | 422 |

mod answer;
mod datatype;
mod error;
mod metadata;
mod outputs;
mod path;
mod predictions;
mod records;
mod request;
mod route;
mod tensor;

#[cfg(test)]
mod tests;

pub(crate) use error::{is_below, worded};
pub(crate) use route::routes;
