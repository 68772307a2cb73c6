//! Variables of Vault and of Azure Key Vault.

use std::time::Duration;

use skiff_backend_web::{AzureSecrets, Client, Identity, VaultSecrets};
use skiff_host::{ProviderError, VariablesProvider};
use skiff_manifest::runtime::{self, VariablesProvider as Configured};

use crate::server::{Does, Request, Server};

/// Short, as a server that says nothing is waited for.
const PATIENCE: Duration = Duration::from_millis(300);

fn client() -> Client {
    Client::new(None).unwrap().with_patience(PATIENCE)
}

/// The provider of a runtime configuration.
fn configured(text: &str) -> Configured {
    let text = format!("[[variables_provider]]\n{text}");
    let config = runtime::read(&text, "runtime-config.toml").unwrap();
    config.variables_providers.into_iter().next().unwrap()
}

fn vault(url: &str) -> VaultSecrets {
    let text = format!(
        "type = 'vault'\nurl = '{url}'\ntoken = 's3cret'\nmount = 'kv'\nprefix = 'team/shop'"
    );
    let Configured::Vault(vault) = configured(&text) else {
        panic!("it is Vault");
    };
    VaultSecrets::new(client(), vault)
}

fn azure(url: &str) -> AzureSecrets {
    let text = format!(
        "type = 'azure_key_vault'\nvault_url = '{url}'\nclient_id = 'me'\nclient_secret = 's3cret'\ntenant_id = 'mine'"
    );
    let Configured::AzureKeyVault(vault) = configured(&text) else {
        panic!("it is Azure");
    };
    let identity = Identity::new(vault.client.clone(), |_| None).unwrap();
    AzureSecrets::new(client(), vault, identity, Some(url))
}

fn ask(provider: &dyn VariablesProvider, name: &str) -> Result<Option<String>, ProviderError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let answer = runtime.block_on(provider.ask(&name.parse().unwrap()));
    let shown = format!("{provider:?} {answer:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    answer
}

fn json(text: &str) -> Does {
    Does::Answer(200, text.as_bytes().to_vec())
}

#[test]
fn a_secret_of_vault_is_its_field_called_value() {
    let server = Server::new(|request| match request.line.as_str() {
        "GET /v1/kv/data/team/shop/db_pass" => {
            json(r#"{"data":{"data":{"value":"hunter2","other":"x"},"metadata":{"version":3}}}"#)
        }
        _ => Does::Answer(404, br#"{"errors":[]}"#.to_vec()),
    });
    let vault = vault(&server.url);
    assert_eq!(ask(&vault, "db_pass"), Ok(Some("hunter2".to_owned())));
    assert_eq!(ask(&vault, "nothing"), Ok(None));
    let token = "x-vault-token: s3cret".to_owned();
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.headers.contains(&token))
    );
}

/// The same answer to everything.
type Always = Box<dyn Fn() -> Does + Send>;

#[test]
fn what_is_wrong_with_vault_is_told_with_its_url_and_without_its_secrets() {
    let large = format!("\"{}\"", "x".repeat(2 << 20));
    let there = Server::new(|_| json("{}"));
    let elsewhere = there.url.clone();
    let answers: [(Always, &str); 9] = [
        (
            Box::new(|| Does::Answer(403, Vec::new())),
            "access is denied (status 403)",
        ),
        (
            Box::new(|| Does::Answer(503, b"sealed".to_vec())),
            "it answered with status 503",
        ),
        (
            Box::new(move || Does::Redirect(elsewhere.clone())),
            "it answered with status 307",
        ),
        (Box::new(|| json("<html>s3cret")), "its answer is not JSON"),
        (
            Box::new(|| json(r#"{"data":{"data":{"other":"s3cret"}}}"#)),
            "secret `team/shop/db_pass` has no field `value`",
        ),
        (
            Box::new(|| json(r#"{"data":{"data":{"value":7}}}"#)),
            "the field `value` of secret `team/shop/db_pass` is not a string",
        ),
        (
            Box::new(move || json(&large)),
            "has more than 1048576 bytes",
        ),
        (Box::new(|| Does::BreaksOff(b"{".to_vec())), "Vault `"),
        (Box::new(|| Does::Nothing), "it did not answer in time"),
    ];
    for (does, expected) in answers {
        let server = Server::new(move |_| does());
        let error = ask(&vault(&server.url), "db_pass").unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("Vault `{}`: ", server.url)),
            "{error}"
        );
        assert!(error.contains(expected), "{error}");
    }
    assert!(
        there.requests().is_empty(),
        "a token goes to one server only"
    );
    let nobody = vault("http://127.0.0.1:1");
    let error = ask(&nobody, "db_pass").unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    let error = ask(&vault("http://nowhere.invalid"), "db_pass")
        .unwrap_err()
        .to_string();
    assert!(error.contains("its name is not known"), "{error}");
}

/// Azure's server for tokens, and Key Vault.
fn both(request: &Request) -> Does {
    match request.line.as_str() {
        "POST /mine/oauth2/v2.0/token" => {
            json(r#"{"token_type":"Bearer","expires_in":3599,"access_token":"s3cret-token"}"#)
        }
        "GET /secrets/db-pass?api-version=7.4" => {
            json(r#"{"value":"hunter2","id":"https://x/secrets/db-pass/1"}"#)
        }
        "GET /secrets/empty?api-version=7.4" => json("{}"),
        _ => Does::Answer(404, br#"{"error":{"code":"SecretNotFound"}}"#.to_vec()),
    }
}

#[test]
fn a_secret_of_azure_is_asked_for_with_a_token_that_is_used_again() {
    let server = Server::new(both);
    let azure = azure(&server.url);
    assert_eq!(ask(&azure, "db_pass"), Ok(Some("hunter2".to_owned())));
    assert_eq!(ask(&azure, "nothing"), Ok(None));
    let error = ask(&azure, "empty").unwrap_err().to_string();
    assert!(error.ends_with("secret `empty` has no value"), "{error}");
    let requests = server.requests();
    assert_eq!(requests.len(), 4, "one token: {requests:?}");
    assert_eq!(
        requests[0].body,
        "grant_type=client_credentials&scope=https%3A%2F%2Fvault.azure.net%2F.default&client_id=me&client_secret=s3cret"
    );
    let token = "authorization: bearer s3cret-token".to_owned();
    assert!(
        requests[1..]
            .iter()
            .all(|request| request.headers.contains(&token))
    );
}

#[test]
fn a_pod_has_an_identity_of_its_own_where_the_cluster_gives_it_one() {
    let error = Identity::new(None, |_| None).unwrap_err().to_string();
    assert!(error.contains("`AZURE_CLIENT_ID` is not set"), "{error}");
    assert!(error.contains("managed identity"), "{error}");
    let empty = |name: &str| Some(name.trim_start_matches("AZURE_TENANT_ID").to_owned());
    let error = Identity::new(None, empty).unwrap_err().to_string();
    assert!(error.contains("`AZURE_TENANT_ID` is not set"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "s3cret-assertion\n").unwrap();
    let server = Server::new(both);
    let identity = Identity::new(None, |name| match name {
        "AZURE_CLIENT_ID" => Some("pod".to_owned()),
        "AZURE_TENANT_ID" => Some("mine".to_owned()),
        "AZURE_FEDERATED_TOKEN_FILE" => Some(file.to_str().unwrap().to_owned()),
        "AZURE_AUTHORITY_HOST" => Some(format!("{}/", server.url)),
        _ => None,
    });
    let text = format!("type = 'azure_key_vault'\nvault_url = '{}'", server.url);
    let Configured::AzureKeyVault(vault) = configured(&text) else {
        panic!("it is Azure");
    };
    let azure = AzureSecrets::new(client(), vault, identity.unwrap(), None);
    assert_eq!(ask(&azure, "db_pass"), Ok(Some("hunter2".to_owned())));
    let body = &server.requests()[0].body;
    assert!(
        body.contains("client_id=pod&client_assertion_type=urn%3A"),
        "{body}"
    );
    assert!(
        body.ends_with("client_assertion=s3cret-assertion"),
        "{body}"
    );
}

#[test]
fn what_is_wrong_with_azure_is_told_with_the_server_at_fault() {
    for (status, body, expected) in [
        (401, "s3cret", "access is denied (status 401)"),
        (404, "", "no such tenant"),
        (200, "{}", "it gave no token"),
        (500, "", "it answered with status 500"),
    ] {
        let server = Server::new(move |_| Does::Answer(status, body.as_bytes().to_vec()));
        let error = ask(&azure(&server.url), "db_pass").unwrap_err().to_string();
        assert!(
            error.starts_with("Azure Key Vault `") && error.contains(" at `"),
            "{error}"
        );
        assert!(error.contains(expected), "{error}");
    }
    let denied = Server::new(|request| match request.line.starts_with("POST") {
        true => both(request),
        false => Does::Answer(403, b"s3cret".to_vec()),
    });
    let error = ask(&azure(&denied.url), "db_pass").unwrap_err().to_string();
    assert!(error.ends_with("access is denied (status 403)"), "{error}");
}
