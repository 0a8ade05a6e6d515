//! The certificate of the demo's HTTPS listener, and the authority that it comes from.
//!
//! Both are made at the start. The files are in a directory of their own, which nobody else may
//! read and which goes with the demo; the key of the authority is never written.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A certificate for this machine's own names, in files. They vanish when it is dropped.
#[derive(Debug)]
pub struct Certificate {
    dir: PathBuf,
}

impl Certificate {
    /// Makes an authority and a certificate of it.
    ///
    /// # Errors
    /// When the temporary directory cannot be written to.
    pub fn make() -> io::Result<Self> {
        let mut params = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "ringway demo");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &issuer).map_err(io::Error::other)?;
        let dir = std::env::temp_dir().join(format!("ringway-demo-{}", std::process::id()));
        // A directory of that name that somebody else has made is an error, never used.
        DirBuilder::new().mode(0o700).create(&dir)?;
        let made = Self { dir };
        fs::write(made.path("ca.pem"), issuer.pem())?;
        fs::write(made.path("localhost.pem"), certificate.pem())?;
        fs::write(made.path("localhost.key"), key.serialize_pem())?;
        Ok(made)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The part of the configuration that listens on `address` with it.
    #[must_use]
    pub fn listener(&self, address: SocketAddr) -> String {
        let shown = |path: &Path| format!("{:?}", path.display().to_string());
        let (certificate, key) = (self.path("localhost.pem"), self.path("localhost.key"));
        format!(
            "
[[listeners]]
name = \"web-tls\"
address = \"{address}\"
default = {{ forward = \"home\" }}

[listeners.tls]
certificates = [
    {{ certificate = {}, key = {} }},
]

[[listeners.rules]]
priority = 10
path_pattern = [\"/blog\", \"/blog/*\"]
forward = \"blog\"
",
            shown(&certificate),
            shown(&key)
        )
    }

    /// What the demo prints of the HTTPS listener at `address`.
    #[must_use]
    pub fn instructions(&self, address: SocketAddr) -> String {
        let (ca, port) = (self.path("ca.pem"), address.port());
        let ca = ca.display();
        format!(
            "
HTTPS, with a certificate that is good until the demo ends:

  curl --cacert {ca} https://localhost:{port}/
"
        )
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary directory, with a key that nobody trusts.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
