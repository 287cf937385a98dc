//! WASI's sockets as names without anything behind them.
//!
//! A runtime that was built with the whole of WASI, as CPython is, names them whether its program has a use for them or
//! not. Here each of their calls ends the guest, and none of their things ever comes to be.

use wasmtime::Engine as Machine;
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, Linker, ResourceType};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};

use super::world::World;
use crate::engine::wasm::verdict::Closed;

/// The package whose interfaces are closed.
const PACKAGE: &str = "wasi:sockets/";

/// Stands for every kind of thing that sockets have.
struct Nothing;

/// Links those interfaces that the component names.
pub(super) fn add_to_linker(
    linker: &mut Linker<World>,
    machine: &Machine,
    component: &Component,
) -> wasmtime::Result<()> {
    for (name, item) in component.component_type().imports(machine) {
        if let (true, ComponentItem::ComponentInstance(interface)) =
            (name.starts_with(PACKAGE), item.ty)
        {
            close(linker, machine, name, &interface)?;
        }
    }
    Ok(())
}

/// What a thing of this name is: those that sockets share with the rest of WASI are the rest's.
fn kind(name: &str) -> ResourceType {
    match name {
        "pollable" => ResourceType::host::<DynPollable>(),
        "input-stream" => ResourceType::host::<DynInputStream>(),
        "output-stream" => ResourceType::host::<DynOutputStream>(),
        _ => ResourceType::host::<Nothing>(),
    }
}

fn close(
    linker: &mut Linker<World>,
    machine: &Machine,
    name: &str,
    interface: &ComponentInstance,
) -> wasmtime::Result<()> {
    let mut closed = linker.instance(name)?;
    for (item_name, item) in interface.exports(machine) {
        match item.ty {
            ComponentItem::ComponentFunc(_) => {
                let (module, rest) = name.split_once('/').unwrap_or((name, ""));
                let (module, name) = (module.to_owned(), format!("{rest} {item_name}"));
                closed.func_new(item_name, move |_, _, _, _| {
                    let (module, name) = (module.clone(), name.clone());
                    Err(wasmtime::Error::new(Closed { module, name }))
                })?;
            }
            ComponentItem::Resource(_) => {
                closed.resource(item_name, kind(item_name), |_, _| Ok(()))?;
            }
            // Types are the component's own; nothing else is in an interface.
            _ => {}
        }
    }
    Ok(())
}
