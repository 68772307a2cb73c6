//! Builds the tools of the suite and the bench and prints their paths, so that the
//! minutes this takes are a separate step and not part of a test. `--cluster` also builds
//! the tools of the cluster's tests.

use std::process::ExitCode;

use skiff_test_support::tools::{self, ToolError, Version};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = args.iter().map(String::as_str).collect();
    let built = match words[..] {
        [] => build(),
        ["--cluster"] => build().and_then(|()| build_cluster()),
        _ => {
            eprintln!("usage: tools [--cluster]");
            return ExitCode::from(2);
        }
    };
    match built {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), ToolError> {
    for version in Version::ALL {
        println!(
            "containerd {}: {}",
            version.number(),
            tools::containerd(version)?.display()
        );
    }
    println!("pause: {}", tools::pause()?.display());
    Ok(())
}

fn build_cluster() -> Result<(), ToolError> {
    println!("kubernetes: {}", tools::kubernetes()?.display());
    println!("helm: {}", tools::helm()?.display());
    println!("coredns: {}", tools::coredns()?.display());
    println!("metrics-server: {}", tools::metrics_server()?.display());
    println!("kube-router: {}", tools::kube_router()?.display());
    println!("skipper: {}", tools::skipper()?.display());
    println!("keda: {}", tools::keda()?.display());
    println!("spin-operator: {}", tools::spin_operator()?.display());
    let manager = tools::runtime_class_manager()?;
    println!("runtime-class-manager: {}", manager.display());
    Ok(())
}
