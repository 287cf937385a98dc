//! Types and calls of `wit/stage.wit`, made from it when this crate is built.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "guildhall:stage/stage",
    with: { "guildhall:stage/types.blob": super::blob::Blob },
    imports: { default: trappable },
});

pub(super) use self::guildhall::stage::{host, types};
