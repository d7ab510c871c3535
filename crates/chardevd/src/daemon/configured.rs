//! What the configuration asks for, and where metrics are served.

use std::sync::Arc;

use super::Daemon;
use crate::config::{self, Keeper, Runner};
use crate::metrics::{Address, Endpoint, Source};
use crate::{DaemonError, edge};

impl Daemon {
    /// Starts what the configuration says, and keeps it so. Consoles may fail; what everybody
    /// needs may not. The answer is whether it has a monitor.
    pub(super) fn start_config(&mut self) -> Result<bool, DaemonError> {
        let Some((config, asked)) = self.config.take() else {
            return Ok(false);
        };
        let Some(file) = config.file() else {
            return Ok(false);
        };
        edge::allow_more_descriptors();
        let chardevs = self.server().chardevs().clone();
        let directory = self.shop.directory().to_owned();
        let wanted = config::load(file, &directory, &chardevs.kinds())?;
        self.runner().set_io_threads(wanted.io_threads);
        for line in wanted.objects.values() {
            self.add_object(line, &directory)?;
        }
        let (monitors, metrics) = (wanted.monitors.clone(), wanted.metrics.clone());
        let tokens = chardevs.block_on(config.tokens.open(wanted.tokens.clone()))?;
        tokens.commit(self.server().access().tokens());
        let (page, fleet) = (wanted.web.clone(), wanted.fleet.clone());
        let keeper = Keeper::new(&config, asked, self.runner());
        let stop = self.server().stop().clone();
        let started = chardevs.block_on(async {
            tokio::select! {
                biased;
                () = keeper.begin(wanted) => Some(()),
                _ = stop.requested() => None,
            }
        });
        started.ok_or("interrupted by a signal")?;
        if let Some(address) = metrics {
            let endpoint = Endpoint::start(
                address,
                Source::new(&chardevs, &config.table, &config.fleet),
            );
            config.metrics.set(Some(chardevs.block_on(endpoint)?));
        }
        config
            .page
            .set(chardevs.block_on(config.page.prepare(page))?);
        config.fleet.set(fleet);
        for monitor in &monitors {
            let _reserved = self.server().reserve_monitor(&monitor.chardev);
            let started = match &monitor.options {
                Some(options) => self.add(&monitor.chardev, options.clone()),
                None => Ok(()),
            };
            let started = started
                .and_then(|()| self.start_monitor(&monitor.chardev, monitor.mode, monitor.terms));
            started.map_err(|error| error.within(format_args!("{}: monitor", monitor.place)))?;
        }
        Ok(!monitors.is_empty())
    }

    pub(super) fn start_metrics(&mut self, address: Option<&str>) -> Result<(), DaemonError> {
        let (Some(address), Some((config, _))) = (address, &self.config) else {
            return Ok(());
        };
        let chardevs = self.server().chardevs();
        let address = Address::parse(address);
        let address = address.map_err(|error| format!("--metrics: {error}"))?;
        let address = address.within(self.shop.directory());
        let started = Endpoint::start(address, Source::new(chardevs, &config.table, &config.fleet));
        self.metrics.0 = Some(chardevs.block_on(started)?);
        Ok(())
    }

    pub(super) fn runner(&self) -> Runner {
        Runner {
            shop: self.shop.clone(),
            fds: Arc::clone(&self.fds),
            daemonized: self.daemonized,
            io_threads: self.io_threads,
        }
    }
}
