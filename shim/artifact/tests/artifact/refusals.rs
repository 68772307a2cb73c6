//! Runs code in a thread in which the kernel refuses certain calls, as other file systems,
//! kernels and seccomp filters do.

use std::io;

/// Calls `act` in a separate thread in which each of these calls fails with its error.
#[track_caller]
pub(crate) fn refusing<T: Send>(calls: &[(i64, i32)], act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            filter(calls).unwrap();
            act()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn filter(calls: &[(i64, i32)]) -> io::Result<()> {
    let instruction = |code: u32, jt: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf: u8::from(jt == 0 && code & 0x07 == libc::BPF_JMP),
        k,
    };
    let answer = libc::BPF_RET | libc::BPF_K;
    // The syscall number comes first in the filter's input.
    let mut program = vec![instruction(
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        0,
        0,
    )];
    for &(call, error) in calls {
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        program.push(instruction(equal, 0, call as u32));
        program.push(instruction(
            answer,
            0,
            libc::SECCOMP_RET_ERRNO | error as u32,
        ));
    }
    program.push(instruction(answer, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    const ONE: libc::c_ulong = 1;
    const NOTHING: libc::c_ulong = 0;
    // SAFETY: the program outlives the calls, which are about this thread only.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, ONE, NOTHING, NOTHING, NOTHING) != 0
            || libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::c_ulong::from(libc::SECCOMP_MODE_FILTER),
                &raw const filter,
            ) != 0
    };
    match failed {
        true => Err(io::Error::last_os_error()),
        false => Ok(()),
    }
}
