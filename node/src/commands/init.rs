//! `guild init`: makes an org with its first node.

use super::{failed, home};
use crate::cli::{Context, Failure, InitArgs};

/// Makes the home, its keys, and the org's root key in a file of its own.
pub(crate) async fn init(context: &Context, args: InitArgs) -> Result<(), Failure> {
    let home = home(context);
    let root_out = args.root_out.unwrap_or_else(|| home.default_root_key());
    let made = home.create(&args.org, &root_out).map_err(|error| failed(&error, error.help()))?;
    let peer_id = guildhall_overlay::peer_id_string(&made.node.public());
    let output = &context.output;
    if output.is_json() {
        return output.json(&serde_json::json!({
            "org": made.org,
            "root": made.root,
            "peer_id": peer_id,
            "home": home.path(),
            "root_key": root_out,
        }));
    }
    if output.is_quiet() {
        return output.line(&peer_id);
    }
    output.line(&format!("org        {}", made.org))?;
    output.line(&format!("node       {peer_id}"))?;
    output.line(&format!("home       {}", home.path().display()))?;
    output.line(&format!("root key   {}", root_out.display()))?;
    output.note("Keep the root key away from this machine: it speaks for the whole organisation.");
    output.note(&format!("next: guild up --home {}", home.path().display()));
    Ok(())
}
