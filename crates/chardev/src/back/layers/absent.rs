//! front → chardev → [back] → host: layers that this build is without. What asks for one is
//! refused; what turns it off is not.

use chardev_core::spec::{OptionSpec, Options, ParameterError};

use super::{LayerKind, options};

#[cfg(not(feature = "telnet"))]
pub(super) const TELNET: super::LayerSpec = super::LayerSpec {
    options: options::TELNET,
    wanted: |given, _| Ok(refuse(given, options::TELNET, "telnet")?),
};

#[cfg(not(feature = "telnet"))]
pub(super) const RFC2217: super::LayerSpec = super::LayerSpec {
    options: options::RFC2217,
    wanted: |given, _| Ok(refuse(given, options::RFC2217, "telnet")?),
};

#[cfg(not(feature = "websocket"))]
pub(super) const WEBSOCKET: super::LayerSpec = super::LayerSpec {
    options: options::WEBSOCKET,
    wanted: |given, _| Ok(refuse(given, options::WEBSOCKET, "websocket")?),
};

/// Its options stand where QEMU has them, among those of the socket.
#[cfg(not(feature = "tls"))]
pub(super) const TLS: super::LayerSpec = super::LayerSpec {
    options: &[],
    wanted: |given, _| match given.str("tls-creds") {
        Some(id) => Err(needs("tls-creds", id, "tls").into()),
        None => Ok(None),
    },
};

fn refuse(
    given: &Options,
    options: &[OptionSpec],
    feature: &str,
) -> Result<Option<LayerKind>, ParameterError> {
    let wanted = |option: &&OptionSpec| given.bool_or(option.name, false);
    let Some(option) = options.iter().find(wanted) else {
        return Ok(None);
    };
    Err(needs(option.name, "on", feature))
}

fn needs(name: &str, value: &str, feature: &str) -> ParameterError {
    let text = format!("'{name}={value}' needs a build of chardev with the feature '{feature}'");
    ParameterError::not_accepted(name, value).shown_as(text)
}

#[cfg(test)]
mod tests {
    use chardev_core::spec::OptionValue;

    use super::*;

    #[test]
    fn only_what_asks_for_a_layer_is_refused() {
        let socket = |on| Options::new("socket").with("telnet", OptionValue::Bool(on));
        let refused = refuse(&socket(true), options::TELNET, "telnet");
        assert_eq!(
            refused.unwrap_err().to_string(),
            "'telnet=on' needs a build of chardev with the feature 'telnet'"
        );
        for given in [socket(false), Options::new("socket")] {
            assert!(refuse(&given, options::TELNET, "telnet").unwrap().is_none());
        }
    }
}
