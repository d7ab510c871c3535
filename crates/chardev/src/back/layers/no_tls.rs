//! front → chardev → [back] → host: a build without TLS, where there are no credentials.

use chardev_core::spec::ParameterError;

use super::LayerSpec;

/// Finds none.
pub(super) const SPEC: LayerSpec = LayerSpec {
    options: &[],
    wanted: |options, _| match options.str("tls-creds") {
        Some(id) => {
            let error = ParameterError::not_accepted("tls-creds", id);
            Err(error
                .shown_as(format!("No TLS credentials with id '{id}'"))
                .into())
        }
        None => Ok(None),
    },
};
