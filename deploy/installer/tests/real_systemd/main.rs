//! The whole installer on systemd machines, with each containerd series: a unit is
//! restarted over D-Bus, and a change that it does not survive is taken back.

#[path = "../support/mod.rs"]
mod support;

mod machine;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use skiff_installer::check::{CHECKED_WITHIN, Check};
use skiff_installer::install::{InstallError, Installer, Limits};
use skiff_installer::node::{Node, RealNode};
use skiff_installer::systemd::restart_first;
use skiff_test_support::guard::Run;
use skiff_test_support::paths;
use skiff_test_support::tools::{self, Version};
use tokio::runtime::{Handle, Runtime};

use machine::{Disk, Machine, SOCKET};
use support::real::{self, hello, payload};

/// Makes containerd fail to start with our handler.
const REFUSES: &str =
    "[Service]\nExecStartPre=/bin/sh -c '! grep -q skiff /etc/containerd/config.toml'\n";

/// Makes containerd start slowly with our handler.
const HESITATES: &str = "[Service]\n\
    ExecStartPre=/bin/sh -c 'if grep -q skiff /etc/containerd/config.toml; then exec sleep 60; fi'\n";

/// Forbids restarting a unit.
const KEPT_AS_IT_IS: &str = "[Unit]\nRefuseManualStop=yes\n";

/// A service that starts only once.
const ONCE: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=mkdir /run/once\n";

fn main() -> ExitCode {
    real::main(("units_of_systemd_are_restarted_and_restored", within))
}

fn within() -> anyhow::Result<()> {
    // Missing tools are built while there is still a network.
    let debian = tools::debian()?;
    let programs = Version::ALL.map(tools::containerd);
    let run = Run::isolated().context("it starts machines; run it as root")?;
    let runtime = Runtime::new()?;
    let handle = runtime.handle();
    for (version, programs) in Version::ALL.into_iter().zip(programs) {
        let (number, programs) = (version.number(), programs?);
        let disk = |name: &str| Disk::new(&run, &format!("{name}-{number}"), &debian, &programs);
        comes_and_goes(&run, disk("plain")?, handle)
            .with_context(|| format!("a node with containerd {number}"))?;
        is_taken_back(&run, disk("refuses")?, handle)
            .with_context(|| format!("a containerd {number} that does not start again"))?;
        needs_no_bus(&run, disk("no-bus")?)
            .with_context(|| format!("a node with containerd {number} and without a bus"))?;
    }
    Ok(())
}

fn comes_and_goes(run: &Run, disk: Disk, handle: &Handle) -> anyhow::Result<()> {
    disk.write("once.service", ONCE)?;
    disk.write(
        "containerd.service.d/once.conf",
        "[Unit]\nWants=once.service\n",
    )?;
    let machine = Machine::start(run, disk)?;
    let (host, node) = (machine.host(), RealNode::new(handle.clone()));
    let installer = Installer::new(&host, &node, Limits::default());
    let image = payload(run, "1.0.0", &paths::skiff())?;
    machine.start_pause()?;
    let pause = machine.pause()?;
    ensure!(pause.is_some(), "a container under runc does not run");
    let (files, first) = (machine.files(), machine.containerd()?);

    let report = installer.install(&image, true)?;
    ensure!(!report.is_empty(), "nothing would be done");
    machine.has_files(&files)?;
    ensure!(machine.containerd()? == first, "a dry run restarts");

    let report = installer.install(&image, false)?;
    ensure!(report.restarted, "containerd has to read it: {report}");
    let second = machine.containerd()?;
    ensure!(second != first, "it is process {first} as before");
    let offered = node.handlers(&host, SOCKET.as_ref())?;
    ensure!(offered.iter().any(|name| name == "skiff"), "{offered:?}");
    let report = installer.install(&image, false)?;
    ensure!(report.is_empty(), "nothing was to be done: {report}");
    ensure!(machine.containerd()? == second, "it restarts for nothing");

    let check = Check {
        socket: SOCKET.into(),
        hello: hello(run, "args-env"),
        shim: None,
        within: CHECKED_WITHIN,
    };
    handle.block_on(check.run(&host))?;

    installer.uninstall(false)?;
    machine.has_files(&files)?;
    let offered = node.handlers(&host, SOCKET.as_ref())?;
    ensure!(offered.iter().all(|name| name != "skiff"), "{offered:?}");
    units_are_told_apart(&machine, handle)?;
    ensure!(machine.pause()? == pause, "the container did not go on");
    Ok(())
}

/// Layouts with several names of a service rely on this.
fn units_are_told_apart(machine: &Machine, handle: &Handle) -> anyhow::Result<()> {
    let host = machine.host();
    let within = Limits::default().restarted_within;
    let restart = |units: &[&str]| handle.block_on(restart_first(&host, units, within));
    let first = machine.containerd()?;
    restart(&["absent.service", "containerd.service"])?;
    ensure!(machine.containerd()? != first, "it is not restarted");
    let error = restart(&["absent.service", "other.service"]).expect_err("none");
    let told = "none of these units is active: absent.service, other.service";
    ensure!(error.to_string() == told, "{error}");
    let error = restart(&["once.service"]).expect_err("it starts only once");
    let told = "once.service did not start: it is failed";
    ensure!(error.to_string().starts_with(told), "{error}");
    Ok(())
}

fn is_taken_back(run: &Run, disk: Disk, handle: &Handle) -> anyhow::Result<()> {
    disk.write("containerd.service.d/refuses.conf", REFUSES)?;
    let machine = Machine::start(run, disk)?;
    let (host, node) = (machine.host(), RealNode::new(handle.clone()));
    let limits = Limits {
        back_within: Duration::from_secs(8),
        ..Limits::default()
    };
    let image = payload(run, "1.0.0", &paths::skiff())?;
    let files = machine.files();
    match Installer::new(&host, &node, limits).install(&image, false) {
        Err(InstallError::Restored(_)) => {}
        other => anyhow::bail!("it is not taken back: {other:?}"),
    }
    machine.has_files(&files)?;
    let state = machine.state_of("containerd")?;
    ensure!(state == "active", "containerd is {state}");
    node.handlers(&host, SOCKET.as_ref())?;
    Ok(())
}

/// A node on which the installer has only `systemctl`.
fn needs_no_bus(run: &Run, disk: Disk) -> anyhow::Result<()> {
    for unit in ["dbus.socket", "dbus.service"] {
        disk.mask(unit)?;
    }
    let machine = Machine::start(run, disk)?;
    let image = payload(run, "1.0.0", &paths::skiff())?.program();
    let image = image.parent().context("it is in a folder")?;
    let (files, first) = (machine.files(), machine.containerd()?);
    let told = machine.installer(image, &["install"])?;
    ensure!(told.contains("restart containerd"), "{told}");
    ensure!(machine.containerd()? != first, "it is not restarted");
    let told = machine.installer(image, &["install"])?;
    ensure!(told.contains("nothing was to be done"), "{told}");
    machine.installer(image, &["uninstall"])?;
    machine.has_files(&files)?;

    let fails = |args: &[&str], reason: &str| {
        let files = machine.files();
        let told = match machine.installer(image, args) {
            Ok(told) => anyhow::bail!("it does not fail: {told}"),
            Err(error) => error.to_string(),
        };
        ensure!(told.contains(reason), "{reason} is not reported: {told}");
        ensure!(machine.state_of("containerd")? == "active", "it is gone");
        machine.has_files(&files)
    };
    machine.rewrite("containerd.service.d/hesitates.conf", HESITATES)?;
    fails(
        &["--restart-within", "4", "install"],
        "containerd.service was not restarted within 4 s",
    )?;
    let first = machine.containerd()?;
    machine.rewrite("containerd.service.d/kept.conf", KEPT_AS_IT_IS)?;
    fails(&["install"], "Operation refused")?;
    ensure!(machine.containerd()? == first, "it was restarted");
    Ok(())
}
