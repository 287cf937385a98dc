//! `guild node renew`: what the org's root key signs for a node, signed anew.

use super::{failed, home};
use crate::app;
use crate::cli::{Context, Failure, RenewArgs};

/// Renews the delegations of a node that is down, for its keys or for new ones.
pub(crate) async fn renew(context: &Context, args: RenewArgs) -> Result<(), Failure> {
    let home = home(context);
    let root_key = args.root_key.unwrap_or_else(|| home.default_root_key());
    let before = home.config().and_then(|config| home.identity(&config.org));
    let before = before.map_err(|error| failed(&error, error.help()))?;
    let renewed = home.renewed(&root_key, args.new_keys);
    let identity = renewed.map_err(|error| failed(&error, error.help()))?;
    // The store first: it is what another process may be using, and keys that it does not know can be made again.
    let former = Some(before.producer.public());
    let adopted = app::adopt_store(&home, &identity, former).await;
    adopted.map_err(|error| failed(&error, error.help()))?;
    let saved = home.save_keys(&identity.node, &identity.producer);
    saved.map_err(|error| failed(&error, error.help()))?;
    let peer_id = guildhall_overlay::peer_id_string(&identity.node.public());
    let output = &context.output;
    if output.is_json() {
        return output.json(&serde_json::json!({ "peer_id": peer_id, "new_keys": args.new_keys }));
    }
    if output.is_quiet() {
        return output.line(&peer_id);
    }
    output.line(&format!("node       {peer_id}{}", if args.new_keys { " (new)" } else { "" }))?;
    output.line("delegated  for 90 days from now")?;
    output.line("next       guild up")
}
