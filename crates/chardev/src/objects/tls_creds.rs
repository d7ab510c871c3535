//! front → chardev → [back] → host: certificates and keys in a directory, made ready for use.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chardev_core::OpenError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use super::{TlsCreds, TlsEndpoint};
use crate::disk;
use crate::sys::strerror;

/// The longest file of certificates or keys. Lists of what was revoked grow.
const FILE_LIMIT: u64 = 16 << 20;

/// Credentials that were read and fit together.
#[derive(Clone, Debug)]
pub(crate) struct Creds {
    pub(crate) verify_peer: bool,
    pub(crate) config: Config,
}

/// What a session is made of.
#[derive(Clone, Debug)]
pub(crate) enum Config {
    Client(Arc<ClientConfig>),
    Server(Arc<ServerConfig>),
}

impl Creds {
    /// Reads the files. Waits for the disk.
    ///
    /// # Errors
    /// Names the file, in QEMU's words where it has any.
    pub(super) fn load(creds: &TlsCreds) -> Result<Self, OpenError> {
        let files = Files(&creds.dir);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (roots, crls) = (Arc::new(files.roots()?), files.crls()?);
        let config = match creds.endpoint {
            TlsEndpoint::Server => {
                let own = files.required("server-cert.pem", "server-key.pem")?;
                Config::Server(server(provider, creds.verify_peer, (roots, crls), own)?)
            }
            TlsEndpoint::Client => {
                let own = files.own("client-cert.pem", "client-key.pem")?;
                Config::Client(client(provider, creds.verify_peer, (roots, crls), own)?)
            }
        };
        Ok(Creds {
            verify_peer: creds.verify_peer,
            config,
        })
    }

    pub(crate) fn endpoint(&self) -> TlsEndpoint {
        match self.config {
            Config::Client(_) => TlsEndpoint::Client,
            Config::Server(_) => TlsEndpoint::Server,
        }
    }
}

/// Whom to trust, and who was revoked.
type Trust = (
    Arc<RootCertStore>,
    Vec<CertificateRevocationListDer<'static>>,
);

/// A chain of certificates and the key of its first, with their paths.
struct Own {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    paths: (PathBuf, PathBuf),
}

impl Own {
    /// Why a certificate and its key are of no use.
    fn refused(paths: &(PathBuf, PathBuf), why: &dyn Display) -> OpenError {
        let (cert, key) = (paths.0.display(), paths.1.display());
        OpenError::new(format!(
            "Cannot load certificate '{cert}' & key '{key}': {why}"
        ))
        .about(cert.to_string())
    }

    fn unsuitable(paths: &(PathBuf, PathBuf), error: rustls::Error) -> OpenError {
        Own::refused(paths, &error).because(error)
    }
}

/// Why nobody can be judged by what is in the files of a CA.
fn useless(error: VerifierBuilderError) -> OpenError {
    let text = format!("Cannot use the CA's certificates or CRLs: {error}");
    OpenError::new(text).because(error)
}

fn no_versions(error: rustls::Error) -> OpenError {
    OpenError::new(error.to_string()).because(error)
}

/// Sessions are not resumed, so that every connection is judged by the credentials of its time.
fn server(
    provider: Arc<CryptoProvider>,
    verify: bool,
    (roots, crls): Trust,
    own: Own,
) -> Result<Arc<ServerConfig>, OpenError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(no_versions)?;
    let builder = match verify {
        false => builder.with_no_client_auth(),
        true => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .with_crls(crls)
                // A list says who is revoked, not that nobody else may come.
                .allow_unknown_revocation_status()
                .build()
                .map_err(useless)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let refused = |error| Own::unsuitable(&own.paths, error);
    let mut config = builder
        .with_single_cert(own.chain, own.key)
        .map_err(refused)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn client(
    provider: Arc<CryptoProvider>,
    verify: bool,
    (roots, crls): Trust,
    own: Option<Own>,
) -> Result<Arc<ClientConfig>, OpenError> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(no_versions)?;
    let builder = match verify {
        false => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider))),
        true => {
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .with_crls(crls)
                .allow_unknown_revocation_status()
                .build()
                .map_err(useless)?;
            builder.with_webpki_verifier(verifier)
        }
    };
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let refused = |error| Own::unsuitable(&own.paths, error);
            let made = builder.with_client_auth_cert(own.chain, own.key);
            made.map_err(refused)?
        }
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// A directory with credentials.
struct Files<'a>(&'a Path);

impl Files<'_> {
    fn roots(&self) -> Result<RootCertStore, OpenError> {
        let path = self.0.join("ca-cert.pem");
        let content = read(&path)?;
        let refused = |why: &dyn Display| {
            let path = path.display().to_string();
            OpenError::new(format!("Cannot load CA certificate '{path}': {why}")).about(path)
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&content) {
            let certificate = certificate.map_err(|error| refused(&error))?;
            roots.add(certificate).map_err(|error| refused(&error))?;
        }
        match roots.is_empty() {
            true => Err(refused(&"there is none in it")),
            false => Ok(roots),
        }
    }

    fn crls(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, OpenError> {
        let path = self.0.join("ca-crl.pem");
        let Some(content) = read_optional(&path)? else {
            return Ok(Vec::new());
        };
        let lists = CertificateRevocationListDer::pem_slice_iter(&content);
        let lists = lists.collect::<Result<Vec<_>, _>>();
        let lists = lists.map_err(|error| error.to_string());
        let lists = lists.and_then(|lists| match lists.is_empty() {
            // What revokes nobody is not what somebody meant who has put it there.
            true => Err("there is none in it".to_owned()),
            false => Ok(lists),
        });
        lists.map_err(|why| {
            let path = path.display().to_string();
            OpenError::new(format!("Cannot load CRL '{path}': {why}")).about(path)
        })
    }

    fn required(&self, cert: &str, key: &str) -> Result<Own, OpenError> {
        let paths = (self.0.join(cert), self.0.join(key));
        let contents = (read(&paths.0)?, read(&paths.1)?);
        parse(paths, &contents)
    }

    /// A certificate that need not be there.
    fn own(&self, cert: &str, key: &str) -> Result<Option<Own>, OpenError> {
        let paths = (self.0.join(cert), self.0.join(key));
        let Some(certificate) = read_optional(&paths.0)? else {
            return Ok(None);
        };
        let contents = (certificate, read(&paths.1)?);
        parse(paths, &contents).map(Some)
    }
}

fn parse(paths: (PathBuf, PathBuf), contents: &(Vec<u8>, Vec<u8>)) -> Result<Own, OpenError> {
    let chain = CertificateDer::pem_slice_iter(&contents.0);
    let chain = chain.collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| Own::refused(&paths, &error))?;
    if chain.is_empty() {
        return Err(Own::refused(&paths, &"it contains no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&contents.1).map_err(|error| {
        let text = String::from_utf8_lossy(&contents.1);
        let encrypted = text.contains("ENCRYPTED");
        match error {
            PemError::NoItemsFound if encrypted => Own::refused(
                &paths,
                &"the key is encrypted; decrypt it with 'openssl pkey', into a file that only this user can read",
            ),
            error => Own::refused(&paths, &error),
        }
    })?;
    Ok(Own { chain, key, paths })
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    let found = read_optional(path)?;
    found.ok_or_else(|| unable(path, rustix::io::Errno::NOENT.into()))
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, OpenError> {
    match disk::read_small(path, FILE_LIMIT) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unable(path, error)),
    }
}

fn unable(path: &Path, error: io::Error) -> OpenError {
    let why = match rustix::io::Errno::from_io_error(&error) {
        Some(errno) => strerror(errno),
        None => error.to_string(),
    };
    let path = path.display().to_string();
    OpenError::new(format!("Unable to access credentials {path}: {why}"))
        .about(path)
        .because(error)
}

/// For a client with `verify-peer=off`: whoever has the key of some certificate will do.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
