//! Certificates and keys in files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use scamp_tls::Identity;
use scamp_tls::rustls::pki_types::CertificateDer;
use scamp_tls::rustls::pki_types::pem::PemObject;

use crate::failure::Failure;

/// The certificates in a file: PEM, one or more, or one in DER. `-` is standard input.
pub(crate) fn load(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let octets = read(file)?;
    parse(&octets).map_err(|text| Failure::local(format!("{}: {text}", file.display())))
}

/// A whole file of at most [`LIMIT`] octets. `-` is standard input.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    read_up_to(file, LIMIT)
}

/// A whole file of at most `limit` octets. `-` is standard input.
pub(crate) fn read_up_to(file: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::file(file.display(), &error);
    let mut octets = Vec::new();
    let input: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(file).map_err(failed)?),
    };
    input
        .take(limit + 1)
        .read_to_end(&mut octets)
        .map_err(failed)?;
    if octets.len() as u64 > limit {
        let text = format!("{}: more than {limit} octets", file.display());
        return Err(Failure::local(text));
    }
    Ok(octets)
}

/// The certificate and the key in these files, which belong together.
pub(crate) fn identity(key: &Path, cert: &Path) -> Result<Identity, Failure> {
    let (key_pem, cert_pem) = (read(key)?, read(cert)?);
    Identity::from_pem(cert_pem, key_pem).map_err(|error| {
        let (key, cert) = (key.display(), cert.display());
        Failure::local(format!("{key}, {cert}: {error}"))
    })
}

/// Octets of a certificate, key or ticket file; a long chain has about 20 000.
const LIMIT: u64 = 1024 * 1024;

fn parse(octets: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if octets.first() == Some(&SEQUENCE) {
        return match sequence_len(octets) == Some(octets.len()) {
            true => Ok(vec![CertificateDer::from(octets.to_vec())]),
            false => Err("not a whole certificate in DER".to_owned()),
        };
    }
    let certificates = CertificateDer::pem_slice_iter(octets)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("not a certificate in PEM: {error}"))?;
    match certificates.is_empty() {
        true => Err("no certificate in it".to_owned()),
        false => Ok(certificates),
    }
}

/// The first octet of anything in DER that has parts.
const SEQUENCE: u8 = 0x30;

/// The length in octets of the DER value that begins here, its own head included.
fn sequence_len(octets: &[u8]) -> Option<usize> {
    let first = usize::from(*octets.get(1)?);
    if first < 0x80 {
        return Some(first + 2);
    }
    let count = first & 0x7f;
    let len = octets
        .get(2..2 + count)
        .filter(|_| (1..=4).contains(&count))?;
    let value = len
        .iter()
        .fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet));
    usize::try_from(value).ok()?.checked_add(2 + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K-3: what is no certificate is refused with its fault named.
    #[test]
    fn other_things_are_refused() {
        for bad in [
            &b""[..],
            b"hello",
            b"\x30\x05abc",
            b"\x30",
            b"\x30\x89\x01\x01",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").is_err());
        assert_eq!(parse(b"\x30\x03abc").expect("DER").len(), 1);
        assert_eq!(sequence_len(b"\x30\x82\x01\x00"), Some(260));
    }
}
