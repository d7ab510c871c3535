//! The page of a build that has it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev_monitor::schema::{Type, required};
use chardev_monitor::{Answer, Caller, Object, OwnCommand, Server};
use chardev_web::{Prepared, Settings, Web};
use tokio::sync::watch;

/// The page of a daemon, once somebody wants it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    place: Mutex<Place>,
    /// Whether it is known what the configuration wants.
    is_settled: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Place {
    /// While the daemon runs.
    server: Option<Server>,
    web: Option<Arc<Web>>,
    /// Whether the configuration wants it, rather than who asked for a link.
    is_configured: bool,
}

/// What becomes of the page.
#[derive(Debug)]
pub(crate) enum Next {
    Same,
    Gone,
    New(Web),
    Moved(Arc<Web>, Box<Prepared>),
}

impl Page {
    /// From here on there may be one.
    pub(crate) fn open(&self, server: &Server) {
        self.lock().server = Some(server.clone());
    }

    /// The daemon has started, or failed to: links may be made, to where the page is by now.
    pub(crate) fn settle(&self) {
        self.0.is_settled.send_replace(true);
    }

    /// Does what may fail of what the configuration wants.
    ///
    /// # Errors
    /// Why it cannot be served there.
    pub(crate) async fn prepare(&self, wanted: Option<Settings>) -> Result<Next, String> {
        let (web, is_configured) = {
            let place = self.lock();
            (place.web.clone(), place.is_configured)
        };
        match (wanted, web) {
            (None, Some(_)) if is_configured => Ok(Next::Gone),
            (None, _) => Ok(Next::Same),
            // Certificates may be others where nothing else is.
            (Some(settings), Some(web))
                if web.settings() == settings && is_configured && settings.tls.is_none() =>
            {
                Ok(Next::Same)
            }
            (Some(settings), Some(web)) => {
                let prepared = web.prepare(settings).await?;
                Ok(Next::Moved(web, Box::new(prepared)))
            }
            (Some(settings), None) => {
                let server = self.server()?;
                Web::start(server, settings).await.map(Next::New)
            }
        }
    }

    /// Carries that out.
    pub(crate) fn set(&self, next: Next) {
        let mut place = self.lock();
        match next {
            Next::Same => {}
            Next::Gone => {
                place.is_configured = false;
                place.web = None;
            }
            Next::New(web) => {
                place.is_configured = true;
                place.web = Some(Arc::new(web));
            }
            Next::Moved(web, prepared) => {
                place.is_configured = true;
                web.set(*prepared);
            }
        }
    }

    /// There is none any more.
    pub(crate) fn finish(&self) {
        let place = std::mem::take(&mut *self.lock());
        if let Some(web) = place.web.and_then(Arc::into_inner) {
            web.finish();
        }
    }

    /// The command that asks for a link.
    pub(crate) fn commands(&self) -> [OwnCommand; 1] {
        let page = self.clone();
        let link = move |_: Object, caller: Caller| {
            let page = page.clone();
            async move { page.link(&caller).await }
        };
        let link = OwnCommand::waiting("x-web-link", link).open_to_everybody();
        [link
            .takes([])
            .returns(Type::object([required("url", Type::Str)]))]
    }

    async fn link(&self, caller: &Caller) -> Answer {
        let mut settled = self.0.is_settled.subscribe();
        // It fails without a sender, which is here.
        let _ = settled.wait_for(|is_settled| *is_settled).await;
        let there = self.lock().web.clone();
        let web = match there {
            Some(web) => web,
            None => {
                let web = Web::start(self.server()?, Settings::default()).await?;
                // Somebody else may have asked meanwhile; one of the two is enough.
                Arc::clone(self.lock().web.get_or_insert(Arc::new(web)))
            }
        };
        tracing::info!("web: a link was made for {}", caller.who());
        Ok(Object::new().with("url", web.link(caller)).into())
    }

    fn server(&self) -> Result<Server, String> {
        let server = self.lock().server.clone();
        server.ok_or_else(|| "the daemon is starting or ending; try again".to_owned())
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
