//! TLS: the certificate that is shown, and who those are that show one.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chardev::objects::{alternatives, subject};
use chardev_monitor::{Identity, TlsName};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};

/// The files of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate that is shown, with those it rests on.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whose certificates browsers may show, to be let in by them. Without one, or without showing
    /// any, one comes in by other ways.
    pub client_ca: Option<PathBuf>,
}

/// What the files were made into, and which files those were.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) stamps: Stamps,
}

/// What tells files from those that were there before: for each its inode, and when it was last
/// changed in any way, which nobody can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<Option<(u64, i64, i64)>>);

impl Tls {
    /// Reads the files. Waits for the disk.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn load(&self) -> Result<Loaded, String> {
        // Taken before they are read: what is written meanwhile is seen later.
        let stamps = self.stamps();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|why| refused(&self.key, why))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(path)? {
                    roots.add(root).map_err(|why| refused(path, why))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|why| refused(path, why))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(certificates(&self.cert)?, key)
            .map_err(|why| refused(&self.cert, why))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Every connection is judged by the certificates of its time.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Loaded {
            config: Arc::new(config),
            stamps,
        })
    }

    /// The same with relative paths that start at `directory`.
    pub(crate) fn within(self, directory: &Path) -> Self {
        Tls {
            cert: directory.join(self.cert),
            key: directory.join(self.key),
            client_ca: self.client_ca.map(|path| directory.join(path)),
        }
    }

    /// Which files there are now. Waits for the disk.
    #[expect(clippy::disallowed_methods, reason = "on a thread that may wait")]
    pub(crate) fn stamps(&self) -> Stamps {
        let stamp = |path: &PathBuf| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.ino(), file.ctime(), file.ctime_nsec()))
        };
        Stamps(self.files().map(stamp).collect())
    }

    /// The directories of the files, each once.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let parent = |path: &PathBuf| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut all: Vec<_> = self.files().map(parent).collect();
        all.sort();
        all.dedup();
        all
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let files = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()];
        files.into_iter().flatten()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(path).map_err(|why| refused(path, why))?;
    let all: Result<Vec<_>, _> = all.collect();
    let all = all.map_err(|why| refused(path, why))?;
    match all.is_empty() {
        true => Err(refused(path, "there is no certificate in it")),
        false => Ok(all),
    }
}

fn refused(path: &Path, why: impl std::fmt::Display) -> String {
    format!("the web page's TLS: {}: {why}", path.display())
}

/// Who is at the other end, if they have shown a certificate, which was verified then.
pub(crate) fn identity(connection: &ServerConnection) -> Option<Identity> {
    let certificate = connection.peer_certificates()?.first()?;
    Some(Identity::Tls(Arc::new(TlsName {
        subject: subject(certificate)?,
        alternatives: alternatives(certificate),
    })))
}
