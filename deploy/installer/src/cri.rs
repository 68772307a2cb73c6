//! What containerd tells the kubelet, as far as an installation waits for it.

use std::path::Path;
use std::time::Duration;

use k8s_cri::v1::StatusRequest;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;

use crate::host::HostError;

/// How long one answer may take. A containerd that has just started may be slow,
/// and one that hangs must not hang the installer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why it is not known what containerd offers.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// The socket's path leads nowhere.
    #[error(transparent)]
    Socket(HostError),
    /// Nobody listens.
    #[error("containerd does not listen")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It refuses to tell, for example as its plugin for the kubelet failed.
    #[error("containerd does not answer as a kubelet's runtime: {message}")]
    Refused {
        /// What it says.
        message: String,
    },
    /// It takes too long.
    #[error("containerd does not answer within {} s", ANSWER_WITHIN.as_secs())]
    TooLate,
    /// The answer is not what containerd's is.
    #[error("containerd does not tell its handlers")]
    Odd,
}

/// The handlers that a containerd on this socket offers.
///
/// # Errors
///
/// Where it does not answer.
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
    // Every release tells its configuration; only newer ones list handlers.
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
