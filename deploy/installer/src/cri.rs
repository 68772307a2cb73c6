//! containerd's CRI status, as far as an installation waits for it.

use std::path::Path;
use std::time::Duration;

use k8s_cri::v1::StatusRequest;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;

use crate::host::HostError;

/// How long one answer may take. A containerd that has just started may be slow; one that
/// hangs must not block the installer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why containerd's handlers are unknown.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// The socket's path does not resolve.
    #[error(transparent)]
    Socket(HostError),
    /// Nothing listens on it.
    #[error("containerd does not listen")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answers with an error, for example because its CRI plugin failed.
    #[error("containerd's CRI answers with an error: {message}")]
    Refused {
        /// Its message.
        message: String,
    },
    /// It takes too long.
    #[error("containerd does not answer within {} s", ANSWER_WITHIN.as_secs())]
    TooLate,
    /// The answer is not as containerd gives it.
    #[error("containerd does not report its handlers")]
    Odd,
}

/// The handlers of the containerd on this socket.
///
/// # Errors
///
/// If it does not answer.
pub async fn handlers(socket: &Path) -> Result<Vec<String>, CriError> {
    let asked = tokio::time::timeout(ANSWER_WITHIN, ask(socket)).await;
    asked.map_err(|_| CriError::TooLate)?
}

async fn ask(socket: &Path) -> Result<Vec<String>, CriError> {
    let channel = containerd_client::connect(socket)
        .await
        .map_err(|error| CriError::Connect(error.into()))?;
    let request = StatusRequest { verbose: true };
    let answer = RuntimeServiceClient::new(channel)
        .status(request)
        .await
        .map_err(|status| CriError::Refused {
            message: status.message().to_owned(),
        })?;
    let info = answer.into_inner().info;
    // Every release reports its configuration; only newer ones list handlers.
    let config = info.get("config").ok_or(CriError::Odd)?;
    named_in(config).ok_or(CriError::Odd)
}

fn named_in(config: &str) -> Option<Vec<String>> {
    let config: serde_json::Value = serde_json::from_str(config).ok()?;
    let runtimes = config.get("containerd")?.get("runtimes")?.as_object()?;
    Some(runtimes.keys().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_are_keys_of_the_configuration() {
        let config = r#"{"containerd":{"runtimes":{"runc":{},"skiff":{"runtimeType":"x"}}}}"#;
        assert_eq!(
            named_in(config),
            Some(vec!["runc".to_owned(), "skiff".to_owned()])
        );
        assert_eq!(named_in("{}"), None);
    }
}
