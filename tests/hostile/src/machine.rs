//! Machines that fail: full and read-only disks, few descriptors.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The faults of a machine. Mounts are made in a namespace that ends with the program, so
/// that nothing is left.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine {
    /// How many bytes fit into the code cache.
    pub cache_bytes: Option<u64>,
    /// How many bytes fit into the temporary folder.
    pub temporary_bytes: Option<u64>,
    /// Whether the code cache cannot be written.
    pub cache_read_only: bool,
    /// How many descriptors a process may have.
    pub descriptors: Option<u64>,
}

struct Mount {
    folder: CString,
    options: CString,
    flags: libc::c_ulong,
}

impl Machine {
    /// The set-up to call in the process that runs on this machine.
    pub(crate) fn entered(
        self,
        tmp: &Path,
        cache: &Path,
    ) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
        let mut mounts = Vec::new();
        let flags = if self.cache_read_only {
            libc::MS_RDONLY
        } else {
            0
        };
        let limits = [
            (tmp, self.temporary_bytes, 0),
            (cache, self.cache_bytes, flags),
        ];
        for (folder, bytes, flags) in limits {
            if bytes.is_none() && flags == 0 {
                continue;
            }
            let size = bytes.map_or_else(String::new, |bytes| format!(",size={bytes}"));
            mounts.push(Mount {
                folder: CString::new(folder.as_os_str().as_bytes()).expect("no zero byte"),
                options: CString::new(format!("mode=0700{size}")).expect("no zero byte"),
                flags,
            });
        }
        move || {
            if let Some(count) = self.descriptors {
                let limit = libc::rlimit {
                    rlim_cur: count,
                    rlim_max: count,
                };
                // SAFETY: the structure is complete and outlives the call.
                done(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
            }
            if mounts.is_empty() {
                return Ok(());
            }
            // SAFETY: the only pointers are to strings that outlive the calls.
            unsafe {
                done(libc::unshare(libc::CLONE_NEWNS))?;
                let private = libc::MS_REC | libc::MS_PRIVATE;
                let none = std::ptr::null();
                done(libc::mount(none, c"/".as_ptr(), none, private, none.cast()))?;
                for mount in &mounts {
                    let (kind, to) = (c"tmpfs".as_ptr(), mount.folder.as_ptr());
                    let options = mount.options.as_ptr().cast();
                    done(libc::mount(kind, to, kind, mount.flags, options))?;
                }
            }
            Ok(())
        }
    }
}

fn done(answer: libc::c_int) -> io::Result<()> {
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
