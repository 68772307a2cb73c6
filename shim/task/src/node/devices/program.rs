//! The program that the kernel runs: bpf(2), type `BPF_PROG_TYPE_CGROUP_DEVICE`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::Policy;

/// Commands and kinds of bpf(2), from `linux/bpf.h`.
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const CGROUP_DEVICE_PROGRAM: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// Programs of parent groups apply as well.
const ALLOW_MULTI: u32 = 2;

/// Operations, from `linux/bpf.h` and `linux/bpf_common.h`.
const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE_NUMBER: u8 = 0xb4;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_UNEQUAL: u8 = 0x56;
const JUMP_EQUAL: u8 = 0x16;
const EXIT: u8 = 0x95;

/// What the registers hold: the answer, the request, its parts, and a temporary value.
const ANSWER: u8 = 0;
const QUESTION: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const TRIED: u8 = 6;

/// One instruction, in the kernel's layout.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u8,
    /// The register that is changed in the lower half, and the one that is read in the
    /// upper.
    registers: u8,
    offset: i16,
    number: i32,
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, number: u32) -> Instruction {
    Instruction {
        code,
        registers: from << 4 | to,
        offset,
        number: number.cast_signed(),
    }
}

/// The program of a policy.
pub(super) fn of(policy: &Policy) -> Vec<Instruction> {
    // The request consists of three words: kind and access in one, major, minor.
    let mut program = vec![
        instruction(LOAD_WORD, KIND, QUESTION, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, QUESTION, 4, 0),
        instruction(LOAD_WORD, MINOR, QUESTION, 8, 0),
    ];
    for (devices, access) in &policy.except {
        // For another device, skip to the next exception.
        let mut tests = vec![instruction(JUMP_UNEQUAL, KIND, 0, 0, devices.kind)];
        let numbers = [(MAJOR, devices.major), (MINOR, devices.minor)];
        for (register, number) in numbers {
            tests.extend(number.map(|it| instruction(JUMP_UNEQUAL, register, 0, 0, it)));
        }
        tests.push(instruction(MOVE_REGISTER, TRIED, ACCESS, 0, 0));
        if policy.allow {
            // Deny if any requested operation is forbidden.
            tests.push(instruction(AND, TRIED, 0, 0, *access));
            tests.push(instruction(JUMP_EQUAL, TRIED, 0, 0, 0));
        } else {
            // Skip unless all requested operations are allowed.
            tests.push(instruction(AND, TRIED, 0, 0, !*access));
            tests.push(instruction(JUMP_UNEQUAL, TRIED, 0, 0, 0));
        }
        tests.extend(answer(!policy.allow));
        let end = tests.len();
        for (index, test) in tests.iter_mut().enumerate() {
            if matches!(test.code, JUMP_UNEQUAL | JUMP_EQUAL) {
                // A block has at most nine instructions.
                test.offset = i16::try_from(end - index - 1).unwrap_or(i16::MAX);
            }
        }
        program.extend(tests);
    }
    program.extend(answer(policy.allow));
    program
}

fn answer(allow: bool) -> [Instruction; 2] {
    [
        instruction(MOVE_NUMBER, ANSWER, 0, 0, allow.into()),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// The attributes of a program for bpf(2), as far as needed here.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The attributes of an attachment for bpf(2).
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a program into the kernel, which checks it.
pub(super) fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    // Kernels before 5.11 count programs as locked memory. This process ends soon.
    let all = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the structure is whole; that it may fail is seen below.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const all) };
    let load = Load {
        kind: CGROUP_DEVICE_PROGRAM,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        licence: c"Apache".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: the pointers in the structure outlive the call, and a descriptor that
    // is returned has no other owner.
    unsafe {
        let descriptor =
            libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>());
        match i32::try_from(descriptor) {
            Ok(descriptor) if descriptor >= 0 => Ok(OwnedFd::from_raw_fd(descriptor)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Makes the kernel run a program for every process of a control group.
pub(super) fn attach(program: &OwnedFd, group: &File) -> io::Result<()> {
    let attach = Attach {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the structure holds no pointers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            &raw const attach,
            size_of::<Attach>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use serde_json::json;

    /// Computes a program's answer by interpreting the few operations that it may have.
    fn ask(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let question = [access << 16 | kind, major, minor];
        let mut registers = [0u32; 7];
        let mut at = 0usize;
        loop {
            let Instruction {
                code,
                registers: both,
                offset,
                number,
            } = program[at];
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            let number = number.cast_unsigned();
            at += 1;
            let jump = match code {
                LOAD_WORD => {
                    registers[to] = question[usize::try_from(offset / 4).unwrap()];
                    false
                }
                MOVE_REGISTER => {
                    registers[to] = registers[from];
                    false
                }
                MOVE_NUMBER => {
                    registers[to] = number;
                    false
                }
                AND => {
                    registers[to] &= number;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= number;
                    false
                }
                JUMP_UNEQUAL => registers[to] != number,
                JUMP_EQUAL => registers[to] == number,
                EXIT => return registers[0] == 1,
                other => panic!("operation {other:#x}"),
            };
            if jump {
                at += usize::try_from(offset).unwrap();
            }
        }
    }

    fn program(rules: serde_json::Value) -> Vec<Instruction> {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
        of(&Policy::new(&rules))
    }

    #[test]
    fn a_program_answers_as_the_rules_say() {
        let rules = json!([
            { "allow": true, "type": "b", "major": 8, "minor": 1, "access": "r" },
            { "allow": true, "type": "c", "major": 195, "access": "rw" },
        ]);
        let program = program(rules);
        assert!(ask(&program, BLOCK, READ, 8, 1));
        assert!(!ask(&program, BLOCK, READ | WRITE, 8, 1));
        assert!(!ask(&program, BLOCK, READ, 8, 2));
        assert!(!ask(&program, CHARACTER, READ, 8, 1));
        assert!(ask(&program, CHARACTER, READ | WRITE, 195, 7));
        assert!(ask(&program, BLOCK, MAKE, 8, 0));
        assert!(ask(&program, CHARACTER, READ | WRITE, 1, 3));
        assert!(!ask(&program, CHARACTER, READ, 1, 1));
    }

    #[test]
    fn a_program_that_allows_forbids_any_part() {
        let program = program(json!([
            { "allow": true, "access": "rwm" },
            { "allow": false, "type": "b", "major": 8, "minor": 0, "access": "w" },
        ]));
        assert!(ask(&program, BLOCK, READ, 8, 0));
        assert!(!ask(&program, BLOCK, READ | WRITE, 8, 0));
        assert!(ask(&program, CHARACTER, WRITE, 1, 1));
    }

    /// A control group of version 2, if this node has those, with or without version 1.
    struct Group(PathBuf);

    impl Group {
        fn new() -> Option<Self> {
            let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
            let root = roots
                .into_iter()
                .find(|root| root.join("cgroup.controllers").exists())?;
            let path = root.join(format!("skiff-devices-{}", std::process::id()));
            std::fs::create_dir(&path).ok()?;
            Some(Self(path))
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            std::fs::remove_dir(&self.0).unwrap();
        }
    }

    #[test]
    fn the_kernel_takes_a_program_and_asks_it() {
        let Some(group) = Group::new() else { return };
        guard(&group.0, &[]).unwrap();
        let script = format!(
            "echo $$ > {}/cgroup.procs && : < /dev/null && ! (: < /dev/kmsg)",
            group.0.display()
        );
        let shell = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert!(shell.status.success(), "{shell:?}");
        assert!(
            String::from_utf8_lossy(&shell.stderr).contains("not permitted"),
            "{shell:?}"
        );
    }
}
