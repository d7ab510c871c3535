//! Monitors of the command line that anybody can reach. They work as QEMU's do, and it is said how
//! dangerous that is.

use chardev::objects::NewObject;
use chardev::spec::{Options, SocketAddress};
use chardev::text::shown;
use chardev_qapi::opts::parse_opts;
use tracing::Level;

use super::Daemon;
use crate::cli::Args;
use crate::messages;

impl Daemon {
    /// Warns of monitors that are reached over a network and ask nobody who they are.
    pub(super) fn warn_of_open_monitors(&self, args: &Args) {
        if self.server().access().is_restricted() {
            return;
        }
        let new = args.monitor.len() + args.qmp.len() + args.qmp_pretty.len();
        let new = (0..new).map(|number| format!("compat_monitor{number}"));
        let named = args.monitor.iter().chain(&args.qmp).chain(&args.qmp_pretty);
        let named = named.filter_map(|dev| dev.strip_prefix("chardev:").map(str::to_owned));
        let mon = args.mon.iter().filter_map(|line| {
            let opts = parse_opts(line, "chardev");
            opts.get("chardev").map(str::to_owned)
        });
        for id in new.chain(named).chain(mon) {
            if !self.is_open(&id) {
                continue;
            }
            let info = self.server().chardevs().info(&id);
            let name = info.map(|info| info.filename).unwrap_or_default();
            let words = format!(
                "the monitor '{}' ({}) asks nobody who they are: WHOEVER CAN CONNECT MAY DO \
                 EVERYTHING; use a Unix socket, or a [[monitor]] and [tokens] in a configuration",
                shown(&id),
                shown(name.strip_prefix("disconnected:").unwrap_or(&name))
            );
            messages::say(Level::WARN, &words);
        }
    }

    fn is_open(&self, id: &str) -> bool {
        let all = self.server().chardevs().options();
        let of = |id: &str| all.iter().find(|(other, _)| other == id).map(|(_, it)| it);
        // Whoever is at a multiplexer has come by what it is on.
        let below = of(id)
            .and_then(|options| options.str("chardev"))
            .and_then(of);
        let Some(options) = below.or(of(id)) else {
            return false;
        };
        let far = matches!(
            options.address("addr"),
            Some(SocketAddress::Inet(_) | SocketAddress::Vsock { .. })
        );
        (far || options.kind() == "udp") && !self.verifies(options)
    }

    /// Whether peers prove by a certificate who they are.
    fn verifies(&self, options: &Options) -> bool {
        let objects = self.server().chardevs().objects().list();
        let verifies = |id| {
            let object = objects.iter().find(|(other, _)| other == id);
            matches!(object, Some((_, NewObject::TlsCreds(creds))) if creds.verify_peer)
        };
        options.str("tls-creds").is_some_and(verifies)
    }
}
