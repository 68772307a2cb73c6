//! What one request wrote is not visible in the next, even if the kernel has swapped it out
//! meanwhile.

use std::ffi::CString;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use skiff_engine::{Cache, Code, Compiler, Guest, Pool, Portable, Runner, Tier};
use wasmtime::{Instance, Memory, Module, Store};

const STACK: usize = 1 << 20;
const PAGES: usize = 16;

struct Nothing;

impl Guest for Nothing {
    fn ticked(&mut self) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// A file that the kernel uses as swap until this is dropped.
struct Swap(
    CString,
    #[allow(dead_code, reason = "held for its drop")] tempfile::TempDir,
);

impl Swap {
    const SIZE: usize = 64 << 20;

    /// `None`, with the reason, if swap is not available.
    fn new() -> Result<Swap, String> {
        // Temporary files must not be in memory.
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = tempfile::tempdir_in(place).map_err(|error| error.to_string())?;
        let path = folder.path().join("swap");
        let mut file = fs::File::create(&path).map_err(|error| error.to_string())?;
        let zeros = vec![0; Self::SIZE];
        let written = file.write_all(&zeros).and_then(|()| file.sync_all());
        written.map_err(|error| error.to_string())?;
        let made = Command::new("mkswap").arg(&path).output();
        let made = made.map_err(|error| format!("mkswap: {error}"))?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        let path = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the path is a NUL-terminated string.
        if unsafe { libc::swapon(path.as_ptr(), 0) } != 0 {
            return Err(format!("swapon: {}", std::io::Error::last_os_error()));
        }
        Ok(Swap(path, folder))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::swapoff(self.0.as_ptr()) };
    }
}

/// Bytes of this process that are in swap.
fn swapped() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSwap:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or_default() << 10
}

async fn instance(runner: &Runner, module: &Module) -> (Store<Nothing>, Memory) {
    let mut store = Store::new(runner.engine(), Nothing);
    runner.ticks().interrupt(&mut store);
    let instance = Instance::new_async(&mut store, module, &[]).await.unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    (store, memory)
}

#[tokio::test]
async fn no_byte_of_a_request_is_in_the_next_where_memory_was_swapped_out() {
    let _swap = match Swap::new() {
        Ok(swap) => swap,
        Err(reason) => {
            eprintln!("skipped: no swap is available here: {reason}");
            return;
        }
    };
    let text = r#"(module (memory (export "memory") 16) (data (i32.const 70000) "first"))"#;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("cache")).unwrap();
    let compiler = Compiler::new(Tier::Optimized, false, STACK).unwrap();
    let portable = Portable::new(wat::parse_str(text).unwrap()).unwrap();
    let native = cache.compile(&compiler, &portable).unwrap();
    let pool = Pool {
        instances: 1,
        resources: native.resources(),
    };
    let runner = Runner::new(Tier::Optimized, false, STACK, &pool).unwrap();
    let Code::Module(module) = runner.load(&native).unwrap() else {
        panic!("it is a module");
    };
    let new = {
        let (store, memory) = instance(&runner, &module).await;
        memory.data(&store).to_vec()
    };
    for _ in 0..3 {
        let (mut store, memory) = instance(&runner, &module).await;
        memory.data_mut(&mut store).fill(0xa5);
        let before = swapped();
        let (start, length) = (memory.data_ptr(&store), memory.data_size(&store));
        assert_eq!(length, PAGES << 16);
        // SAFETY: it is the memory of an instance; its content does not change.
        let out = unsafe { libc::madvise(start.cast(), length, libc::MADV_PAGEOUT) };
        assert_eq!(out, 0, "{}", std::io::Error::last_os_error());
        assert!(swapped() > before, "the kernel swaps nothing out");
        drop(store);
        let (store, memory) = instance(&runner, &module).await;
        let differs = memory.data(&store).iter().zip(&new).filter(|(a, b)| a != b);
        assert_eq!(differs.count(), 0, "bytes of the one before");
    }
}
