//! `chardevctl attach`.
use super::connect::Address;
/// x
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The chardev
    id: String,
}
pub(super) fn run(_: &Address, _: &Args) -> Result<(), String> {
    Ok(())
}
