//! front → chardev → \[back\] → host: what back ends name: TLS credentials, and who may come.
//!
//! A back end remembers the id and looks the object up for every peer, so that keys can be changed
//! while it runs: remove the object and add another one with the same id. Until that one is there,
//! the former one counts.

mod authz;
mod refresh;
mod subject;
pub(crate) mod tls_creds;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev_core::OpenError;
use tokio::runtime::Handle;

use crate::offload::offload_open;

pub(crate) use self::authz::Authz;
pub use self::authz::{AuthzFormat, AuthzList, AuthzPolicy, AuthzRule, ReadList};
pub use self::subject::{alternatives, subject};

/// What an object is made of, for [`Objects::add`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NewObject {
    /// Certificates and keys in a directory, under the names that QEMU gives them.
    #[doc(alias = "tls-creds-x509")]
    TlsCreds(TlsCreds),
    /// One who may come, by the distinguished name of their certificate.
    #[doc(alias = "authz-simple")]
    AuthzSimple {
        /// The name, as `CN=laptop,O=Example`.
        identity: String,
    },
    /// Who may come and who may not.
    #[doc(alias = "authz-list")]
    AuthzList(AuthzList),
    /// The same in a file.
    #[doc(alias = "authz-listfile")]
    AuthzListFile {
        /// The file.
        filename: PathBuf,
        /// Whether it is read again whenever it changes.
        refresh: bool,
        /// What its content means.
        read: ReadList,
    },
}

/// X.509 credentials: `ca-cert.pem` and, if there is one, `ca-crl.pem`; `server-cert.pem` and
/// `server-key.pem` for a server, `client-cert.pem` and `client-key.pem`, if there are any, for a
/// client.
#[derive(Clone, Debug)]
pub struct TlsCreds {
    /// The directory that they are in.
    pub dir: PathBuf,
    /// Which end of a connection they are for.
    pub endpoint: TlsEndpoint,
    /// Whether the peer has to prove who it is. Without, a server does not ask for a certificate,
    /// and a client takes any, which protects from nobody who can get between.
    pub verify_peer: bool,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsEndpoint {
    /// The one that connects.
    Client,
    /// The one that is connected to.
    Server,
}

impl NewObject {
    /// QEMU's name for the type.
    pub fn kind(&self) -> &'static str {
        match self {
            NewObject::TlsCreds(_) => "tls-creds-x509",
            NewObject::AuthzSimple { .. } => "authz-simple",
            NewObject::AuthzList(_) => "authz-list",
            NewObject::AuthzListFile { .. } => "authz-listfile",
        }
    }
}

/// The objects of a [`Chardevs`](crate::Chardevs), by id. Clones are of the same ones.
#[derive(Clone, Debug)]
pub struct Objects {
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
    runtime: Handle,
}

#[derive(Clone, Debug)]
struct Entry {
    made_of: NewObject,
    object: Object,
}

/// An object that is there.
#[derive(Clone, Debug)]
enum Object {
    TlsCreds(Arc<tls_creds::Creds>),
    Authz(Arc<Authz>),
}

impl Objects {
    pub(crate) fn new(runtime: Handle) -> Self {
        Objects {
            entries: Arc::default(),
            runtime,
        }
    }

    /// Adds an object (`object-add`), once all that it names has been read.
    ///
    /// # Cancel safety
    /// Dropping the future gives up and leaves nothing behind.
    ///
    /// # Errors
    /// The cause in QEMU's words: the id is taken, or a file cannot be used.
    pub async fn add(&self, id: &str, new: NewObject) -> Result<(), ObjectError> {
        if self.entries().contains_key(id) {
            return Err(ObjectError::Exists(id.to_owned()));
        }
        let made_of = new.clone();
        let object = match new {
            NewObject::AuthzSimple { identity } => Object::Authz(Arc::new(Authz::one(identity))),
            NewObject::AuthzList(list) => Object::Authz(Arc::new(Authz::list(list))),
            NewObject::AuthzListFile {
                filename,
                refresh,
                read,
            } => {
                let list = refresh::open(&self.runtime, filename, refresh, read).await;
                let list = list.map_err(ObjectError::Unusable)?;
                Object::Authz(Arc::new(list))
            }
            NewObject::TlsCreds(creds) => self.load(creds).await?,
        };
        let mut entries = self.entries();
        if entries.contains_key(id) {
            return Err(ObjectError::Exists(id.to_owned()));
        }
        entries.insert(id.to_owned(), Entry { made_of, object });
        Ok(())
    }

    async fn load(&self, creds: TlsCreds) -> Result<Object, ObjectError> {
        let dir = creds.dir.clone();
        let loaded = offload_open(&self.runtime, move || tls_creds::Creds::load(&creds)).await;
        let hangs = |why| {
            let dir = dir.display().to_string();
            OpenError::new(format!("Unable to access credentials {dir}: {why}")).about(dir)
        };
        let loaded = loaded.map_err(hangs).and_then(|loaded| loaded);
        let creds = loaded.map_err(ObjectError::Unusable)?;
        Ok(Object::TlsCreds(Arc::new(creds)))
    }

    /// Removes the object `id` (`object-del`). Connections go on as they are, and back ends that
    /// name it keep it until there is another one with this id.
    ///
    /// # Errors
    /// There is none.
    pub fn remove(&self, id: &str) -> Result<(), ObjectError> {
        // What it holds ends after the lock is released.
        let removed = self.entries().remove(id);
        match removed {
            Some(_) => Ok(()),
            None => Err(ObjectError::NotFound(id.to_owned())),
        }
    }

    /// The ids of all objects, and what they were made of.
    pub fn list(&self) -> Vec<(String, NewObject)> {
        let entries = self.entries();
        let all = entries.iter();
        all.map(|(id, entry)| (id.clone(), entry.made_of.clone()))
            .collect()
    }

    /// The credentials `id`; `None` if there is no such object.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn tls_creds(&self, id: &str) -> Result<Option<Arc<tls_creds::Creds>>, OpenError> {
        match self.entries().get(id).map(|entry| &entry.object) {
            None => Ok(None),
            Some(Object::TlsCreds(creds)) => Ok(Some(Arc::clone(creds))),
            Some(Object::Authz(_)) => {
                let text = format!("Object with id '{id}' is not TLS credentials");
                Err(OpenError::new(text).about(id))
            }
        }
    }

    /// Who may come, as the object `id` says; `None` if there is no such object.
    pub(crate) fn authz(&self, id: &str) -> Option<Arc<Authz>> {
        match self.entries().get(id).map(|entry| &entry.object) {
            Some(Object::Authz(authz)) => Some(Arc::clone(authz)),
            _ => None,
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an object was not added or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectError {
    /// The id is taken.
    Exists(String),
    /// There is no object with this id.
    NotFound(String),
    /// What it is to be made of cannot be used: the file, and why.
    Unusable(OpenError),
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectError::Exists(id) => write!(
                f,
                "attempt to add duplicate property '{id}' to object (type 'container')"
            ),
            ObjectError::NotFound(id) => write!(f, "object '{id}' not found"),
            ObjectError::Unusable(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for ObjectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ObjectError::Unusable(why) => why.source(),
            _ => None,
        }
    }
}
