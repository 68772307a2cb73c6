//! Volumes of the pod, and files of the application.

use std::sync::Arc;

use anyhow::ensure;
use http::Method;
use skiff_test_support::http::{Protocol, Reply, send};

use crate::apps::{App, Kind};
use crate::cases;
use crate::harness::Case;
use crate::node::Node;
use crate::pods::Served;

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_writable_volume_is_written_by_the_guest,
        a_read_only_volume_is_read_and_not_written,
        files_of_an_artifact_are_read_and_not_written,
        files_of_an_image_are_those_of_the_image_alone,
        tokens_are_no_volumes,
    ]
}

async fn put(served: &Served, path: &str, text: &'static str) -> anyhow::Result<Reply> {
    let url = served.pod.url(80, &format!("/?path={path}"));
    Ok(send(Protocol::One, Method::PUT, &url, &[], text).await?)
}

async fn a_writable_volume_is_written_by_the_guest(node: Arc<Node>) -> anyhow::Result<()> {
    let folder = node.scratch("volume-writable")?;
    let image = node.guest_image(Kind::Spin, "write-files").await?;
    let spec = Kind::Spin.container("app", &image).mount(&folder, "/data");
    let served = Served::start(&node, "volume-writable", &spec).await?;
    let reply = put(&served, "/data/new", "from a guest").await?;
    assert_eq!(
        (reply.status.as_u16(), reply.text().as_str()),
        (200, "done\n")
    );
    assert_eq!(std::fs::read_to_string(folder.join("new"))?, "from a guest");
    let outside = put(&served, "/elsewhere", "no").await?;
    assert_eq!(outside.status, 403, "{}", outside.text());
    served.end().await?;
    Ok(())
}

async fn a_read_only_volume_is_read_and_not_written(node: Arc<Node>) -> anyhow::Result<()> {
    let folder = node.scratch("volume-read-only")?;
    std::fs::write(folder.join("config"), "of the pod")?;
    let reader = node.guest_image(Kind::Spin, "read-files").await?;
    let spec = Kind::Spin
        .container("app", &reader)
        .mount_read_only(&folder, "/etc/config");
    let served = Served::start(&node, "volume-read", &spec).await?;
    assert_eq!(
        served.get("/?path=/etc/config/config").await?.text(),
        "of the pod"
    );
    served.end().await?;
    let writer = node.guest_image(Kind::Spin, "write-files").await?;
    let spec = Kind::Spin
        .container("app", &writer)
        .mount_read_only(&folder, "/etc/config");
    let served = Served::start(&node, "volume-no-write", &spec).await?;
    let reply = put(&served, "/etc/config/config", "changed").await?;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(
        std::fs::read_to_string(folder.join("config"))?,
        "of the pod"
    );
    served.end().await?;
    Ok(())
}

async fn files_of_an_artifact_are_read_and_not_written(node: Arc<Node>) -> anyhow::Result<()> {
    let files = "files = [{ source = \"assets\", destination = \"/\" }]";
    for kind in [Kind::Spin, Kind::Manifest] {
        let app = |guest| {
            anyhow::Ok(
                App::of_guest(guest)?
                    .component(files)
                    .file("assets/a.txt", "asset"),
            )
        };
        let image = node
            .app_image("asset-reader", kind, &app("read-files")?)
            .await?;
        let name = format!("assets-{}", kind.word());
        let served = Served::start(&node, &name, &kind.container("app", &image)).await?;
        assert_eq!(served.get("/?path=/a.txt").await?.text(), "asset");
        let escape = served.get("/?path=/../etc/passwd").await?;
        ensure!(
            escape.status == 404,
            "outside of its files: {}",
            escape.text()
        );
        served.end().await?;
        let image = node
            .app_image("asset-writer", kind, &app("write-files")?)
            .await?;
        let name = format!("assets-kept-{}", kind.word());
        let served = Served::start(&node, &name, &kind.container("app", &image)).await?;
        let reply = put(&served, "/a.txt", "changed").await?;
        assert_eq!(reply.status, 403, "{}", reply.text());
        served.end().await?;
    }
    Ok(())
}

async fn files_of_an_image_are_those_of_the_image_alone(node: Arc<Node>) -> anyhow::Result<()> {
    let folder = node.scratch("volume-beside")?;
    std::fs::write(folder.join("secret"), "of the pod")?;
    let files = "files = [{ source = \"/\", destination = \"/\" }]";
    let app = App::of_guest("read-files")?
        .component(files)
        .file("assets/a.txt", "asset");
    let image = node.app_image("whole-image", Kind::Manifest, &app).await?;
    let spec = Kind::Manifest
        .container("app", &image)
        .env("PASSWORD", "secret")
        .mount_read_only(&folder, "/run/secrets/cloud")
        .mount_read_only(&folder, "/etc/hosts.d");
    let served = Served::start(&node, "whole-image", &spec).await?;
    assert_eq!(served.get("/?path=/assets/a.txt").await?.text(), "asset");
    for path in [
        "/proc/self/environ",
        "/proc/1/environ",
        "/proc/self/mountinfo",
        "/sys/kernel/notes",
        "/dev/null",
        "/run/secrets/cloud/secret",
    ] {
        let reply = served.get(&format!("/?path={path}")).await?;
        ensure!(
            reply.status == 404,
            "{path}: {} {}",
            reply.status,
            reply.text()
        );
    }
    served.end().await?;
    Ok(())
}

async fn tokens_are_no_volumes(node: Arc<Node>) -> anyhow::Result<()> {
    let folder = node.scratch("tokens")?;
    std::fs::write(folder.join("token"), "of a cloud")?;
    let image = node.guest_image(Kind::Spin, "read-files").await?;
    let spec = Kind::Spin
        .container("app", &image)
        .mount_read_only(&folder, "/var/run/secrets/eks.amazonaws.com/serviceaccount");
    let served = Served::start(&node, "tokens", &spec).await?;
    let path = "/?path=/var/run/secrets/eks.amazonaws.com/serviceaccount/token";
    let reply = served.get(path).await?;
    ensure!(reply.status == 404, "{} {}", reply.status, reply.text());
    served.end().await?;
    Ok(())
}
