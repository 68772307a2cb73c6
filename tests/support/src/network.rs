//! The network of a run: loopback, a bridge, its CNI configuration, and a kernel without
//! IPv6.

use std::ffi::{c_int, c_short, c_ulong};
use std::io;
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::thread;

use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpFilterContext, ScmpSyscall, scmp_cmp};
use rustix::net::{AddressFamily, SocketType, socket};
use serde_json::json;

/// The request that deletes a bridge. It is not in the libc crate; from the kernel's
/// `linux/sockios.h`.
const SIOCBRDELBR: c_ulong = 0x89a1;

/// The configuration of CNI's bridge plugin. The address range may be the same in every
/// isolated run; runs on the machine's own network need different ones.
///
/// Masquerading is off: pods talk to the run and to each other, and no rule is
/// left in any iptables chain.
pub(crate) fn cni_list(bridge: &str, subnet: &str, state: &str) -> String {
    json!({
        "cniVersion": "1.0.0",
        "name": "skiff-tests",
        "plugins": [{
            "type": "bridge",
            "bridge": bridge,
            "isGateway": true,
            "hairpinMode": true,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": state,
                "ranges": [[{ "subnet": subnet }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
    .to_string()
}

/// Brings the loopback interface of a new network namespace up.
///
/// # Errors
///
/// The kernel's error; this needs root.
pub fn loopback_up() -> io::Result<()> {
    set_flags("lo", |flags| flags | (libc::IFF_UP as c_short))
}

/// Removes a bridge. A missing one is not an error.
///
/// # Errors
///
/// The kernel's error; this needs root.
pub fn remove_bridge(name: &str) -> io::Result<()> {
    match set_flags(name, |flags| flags & !(libc::IFF_UP as c_short)) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
        other => other?,
    }
    let wire = control()?;
    let request = request(name)?;
    // SAFETY: this call only reads the bridge's name, a terminated string that outlives
    // the call.
    let done = unsafe {
        libc::ioctl(
            wire.as_raw_fd(),
            SIOCBRDELBR as _,
            request.ifr_name.as_ptr(),
        )
    };
    checked(done)
}

fn set_flags(name: &str, change: impl Fn(c_short) -> c_short) -> io::Result<()> {
    let wire = control()?;
    let mut request = request(name)?;
    // SAFETY: the kernel fills the flags of the request it is pointed at,
    // which is large enough and lives across the call.
    checked(unsafe { libc::ioctl(wire.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) })?;
    // SAFETY: the call before filled this field of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = change(flags);
    // SAFETY: the kernel reads the same request, whose flags are set.
    checked(unsafe {
        libc::ioctl(
            wire.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    })
}

fn control() -> io::Result<rustix::fd::OwnedFd> {
    Ok(socket(AddressFamily::INET, SocketType::DGRAM, None)?)
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all-zero is a valid value of this plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        let text = format!("interface name `{name}` is longer than the kernel takes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    for (into, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *into = from.cast_signed();
    }
    Ok(request)
}

fn checked(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Runs something on a thread that sees a kernel started with `ipv6.disable=1`.
///
/// # Panics
///
/// If the callee does, or the kernel has no seccomp filters.
pub fn without_ipv6<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let filtered = || {
        let refuse = || -> Result<(), SeccompError> {
            let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
            let of_ipv6 = scmp_cmp!($arg0 == libc::AF_INET6 as u64);
            let none = ScmpAction::Errno(libc::EAFNOSUPPORT);
            let socket = ScmpSyscall::from_name("socket")?;
            filter.add_rule_conditional(none, socket, &[of_ipv6])?;
            filter.load()
        };
        refuse().expect("the kernel has no seccomp filters");
        run()
    };
    thread::scope(|scope| match scope.spawn(filtered).join() {
        Ok(done) => done,
        Err(panic) => resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_name_that_does_not_fit_is_refused() {
        let Err(error) = request("a-bridge-with-a-long-name") else {
            panic!("it fits")
        };
        assert!(
            error.to_string().contains("a-bridge-with-a-long-name"),
            "{error}"
        );
    }

    #[test]
    fn a_bridge_that_is_not_there_needs_no_removal() {
        remove_bridge("skiff-none").expect("absent is fine");
    }
}
