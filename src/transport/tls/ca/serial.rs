//! Serial numbers of certificates.

use std::{fmt, str::FromStr};

/// The longest that a certificate may have.
const BYTES_MAX: usize = 20;

/// A certificate's serial number. Its text form is hexadecimal with colons; it is read without them too.
///
/// ```
/// use portmesh::transport::tls::ca::Serial;
/// let serial: Serial = "4A0b:01".parse()?;
/// assert_eq!(serial.to_string(), "4a:0b:01");
/// assert_eq!("00:4a:0b:01".parse(), Ok(serial));
/// assert!("worker/a".parse::<Serial>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// From its bytes, the most significant first.
    pub(in crate::transport::tls) fn from_bytes(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|b| **b == 0).count();
        Serial(bytes.iter().skip(zeros).copied().collect())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the name of a file.
    pub(super) fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl FromStr for Serial {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.chars().filter(|c| *c != ':');
        let digits: Option<Vec<u8>> = digits
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect();
        let bytes = digits.filter(|d| !d.is_empty()).map(|mut digits| {
            if digits.len() % 2 == 1 {
                digits.insert(0, 0);
            }
            let pairs = digits.chunks_exact(2);
            Vec::from_iter(pairs.map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)))
        });
        match bytes.map(|bytes| Serial::from_bytes(&bytes)) {
            Some(serial) if (1..=BYTES_MAX).contains(&serial.0.len()) => Ok(serial),
            _ => Err(format!(
                "{text:?} is no serial number: those are hexadecimal, like 4a:0b:01, of at most {BYTES_MAX} bytes"
            )),
        }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}
