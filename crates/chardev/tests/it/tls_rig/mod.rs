//! Certificates of a test, made when it runs, in directories as QEMU wants them.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};

/// What a certificate says.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    /// The host it is for.
    pub(crate) host: &'static str,
    pub(crate) expired: bool,
    pub(crate) serial: u64,
}

/// Of a server that `localhost` and its address mean.
pub(crate) const SERVER: Wanted = Wanted {
    name: "server",
    host: "localhost",
    expired: false,
    serial: 1,
};

/// Of a client; servers look at no host.
pub(crate) const CLIENT: Wanted = Wanted {
    name: "client",
    host: "client.example",
    expired: false,
    serial: 2,
};

/// One who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Authority { issuer, pem }
    }

    /// A directory `name` in `dir` with this authority to trust and, if `own` is there, a
    /// certificate for `role`, signed by `signer`.
    pub(crate) fn directory(
        &self,
        dir: &Path,
        name: &str,
        role: &str,
        own: Option<(Wanted, &Authority)>,
    ) -> PathBuf {
        let place = dir.join(name);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("ca-cert.pem"), &self.pem).unwrap();
        if let Some((wanted, signer)) = own {
            let (cert, key) = signer.issue(wanted);
            fs::write(place.join(format!("{role}-cert.pem")), cert).unwrap();
            fs::write(place.join(format!("{role}-key.pem")), key).unwrap();
        }
        place
    }

    fn issue(&self, wanted: Wanted) -> (String, String) {
        let mut params = params(wanted.name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Example, Org");
        params.serial_number = Some(SerialNumber::from(wanted.serial));
        params.subject_alt_names = vec![rcgen::SanType::DnsName(wanted.host.try_into().unwrap())];
        if wanted.host == "localhost" {
            let address = std::net::Ipv4Addr::LOCALHOST.into();
            params
                .subject_alt_names
                .push(rcgen::SanType::IpAddress(address));
        }
        if wanted.expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    /// Puts a list of revoked serial numbers into `place`.
    pub(crate) fn revoke(&self, place: &Path, serials: &[u64]) {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap().pem().unwrap();
        fs::write(place.join("ca-crl.pem"), list).unwrap();
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "GB");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
