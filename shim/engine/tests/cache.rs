//! What the cache trusts, and what it compiles again.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use skiff_engine::{Cache, CacheError, Compiler, Limits, Pool, Portable, Runner, Tier};

const COMPONENT: &[u8] = b"\0asm\x0d\x00\x01\x00";

/// Another component, distinguished by its number.
fn numbered(number: u8) -> Portable {
    let section = [0, 3, 1, b'n', number];
    Portable::new([COMPONENT, &section].concat()).unwrap()
}

struct Fixture {
    folder: tempfile::TempDir,
    cache: Cache,
    compiler: Compiler,
    portable: Portable,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("code")).unwrap();
    Fixture {
        cache,
        folder,
        compiler: Compiler::new(Tier::Optimized, false, Limits::DEFAULT_STACK).unwrap(),
        portable: Portable::new(COMPONENT.to_vec()).unwrap(),
    }
}

impl Fixture {
    fn compile(&self) -> skiff_engine::Native {
        self.cache.compile(&self.compiler, &self.portable).unwrap()
    }

    fn file(&self, ending: &str) -> std::path::PathBuf {
        let key = self.compiler.key(self.portable.digest());
        self.cache.folder().join(format!("{key}.{ending}"))
    }

    fn inode(&self) -> u64 {
        fs::metadata(self.file("native")).unwrap().ino()
    }

    fn found(&self) -> bool {
        let key = self.compiler.key(self.portable.digest());
        self.cache.find(&key).unwrap().is_some()
    }
}

#[test]
fn compiled_code_is_found_again_and_loads() {
    let fixture = fixture();
    let native = fixture.compile();
    let before = fixture.inode();
    fixture.compile();
    assert_eq!(fixture.inode(), before);
    let pool = Pool {
        instances: 1,
        resources: native.resources(),
    };
    let runner = Runner::new(Tier::Optimized, false, Limits::DEFAULT_STACK, &pool).unwrap();
    runner.load(&native).unwrap();
}

#[test]
fn a_truncated_file_is_made_again() {
    let fixture = fixture();
    fixture.compile();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(fixture.file("native"))
        .unwrap();
    file.set_len(100).unwrap();
    assert!(!fixture.found());
    fixture.compile();
    assert!(fixture.found());
}

#[test]
fn a_flipped_byte_is_noticed() {
    let fixture = fixture();
    fixture.compile();
    let mut code = fs::read(fixture.file("native")).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    fs::write(fixture.file("native"), code).unwrap();
    assert!(!fixture.found());
}

#[test]
fn a_copied_cache_is_read_once_and_then_trusted() {
    let fixture = fixture();
    fixture.compile();
    let code = fs::read(fixture.file("native")).unwrap();
    fs::write(fixture.file("native"), code).unwrap();
    assert!(fixture.found());
    let sealed = fs::read_to_string(fixture.file("seal")).unwrap();
    assert!(fixture.found());
    assert_eq!(fs::read_to_string(fixture.file("seal")).unwrap(), sealed);
}

#[test]
fn a_file_that_others_may_write_is_not_trusted() {
    let fixture = fixture();
    fixture.compile();
    fs::set_permissions(fixture.file("native"), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(!fixture.found());
}

#[test]
fn a_link_is_not_followed() {
    let fixture = fixture();
    fixture.compile();
    let elsewhere = fixture.folder.path().join("elsewhere");
    fs::rename(fixture.file("native"), &elsewhere).unwrap();
    symlink(&elsewhere, fixture.file("native")).unwrap();
    assert!(!fixture.found());
}

#[test]
fn a_damaged_seal_is_made_again() {
    let fixture = fixture();
    fixture.compile();
    fs::write(fixture.file("seal"), "skiff-seal-1 nonsense").unwrap();
    assert!(!fixture.found());
    fixture.compile();
    assert!(fixture.found());
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = Cache::open(folder.path()).unwrap_err();
    assert!(
        matches!(error, CacheError::Untrusted { mode: 0o777, .. }),
        "{error}"
    );
}

#[test]
fn a_place_where_nothing_can_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let error = Cache::open(&folder.path().join("file/code")).unwrap_err();
    assert!(error.to_string().contains("file/code"), "{error}");
}

#[test]
fn a_module_that_does_not_validate_says_which_compiler_refused_it() {
    let fixture = fixture();
    let broken = Portable::new(b"\0asm\x0d\x00\x01\x00\xff\xff\xff".to_vec()).unwrap();
    let error = fixture
        .cache
        .compile(&fixture.compiler, &broken)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot compile with the optimized compiler"
    );
}

#[test]
fn two_starts_at_once_compile_once() {
    let fixture = fixture();
    let inodes: Vec<u64> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    fixture.compile();
                    fixture.inode()
                })
            })
            .collect();
        starts.into_iter().map(|s| s.join().unwrap()).collect()
    });
    assert!(
        inodes.windows(2).all(|pair| pair[0] == pair[1]),
        "{inodes:?}"
    );
}

#[test]
fn code_that_was_used_longest_ago_goes_first_however_old_it_is() {
    let fixture = fixture();
    let [old, used] = [1, 2].map(numbered);
    let path = |portable: &Portable, ending: &str| {
        let key = fixture.compiler.key(portable.digest());
        fixture.cache.folder().join(format!("{key}.{ending}"))
    };
    for portable in [&used, &old] {
        fixture.cache.compile(&fixture.compiler, portable).unwrap();
    }
    let hours =
        |hours: u64| std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
    for (portable, ago) in [(&used, 3), (&old, 2)] {
        let seal = fs::File::open(path(portable, "seal")).unwrap();
        seal.set_modified(hours(ago)).unwrap();
    }
    // A use makes it newer, and does not count as a change of the code.
    let key = fixture.compiler.key(used.digest());
    assert!(fixture.cache.find(&key).unwrap().is_some());
    let size = fs::metadata(path(&used, "native")).unwrap().len();
    let small = fixture.cache.clone().with_limit(size + 8192);
    small.tidy();
    assert!(path(&used, "native").exists());
    for ending in ["native", "seal", "lock"] {
        assert!(!path(&old, ending).exists(), "{ending}");
    }
    small.compile(&fixture.compiler, &numbered(3)).unwrap();
    assert!(!path(&used, "native").exists());
}

#[test]
fn what_a_killed_compiler_left_is_removed_and_what_is_written_stays() {
    use rustix::fs::{FlockOperation, flock};
    let fixture = fixture();
    let native = fixture.compile();
    let folder = fixture.cache.folder();
    fs::write(folder.join(".new-left"), "half").unwrap();
    fs::write(folder.join(".new-held"), "half").unwrap();
    let held = fs::File::open(folder.join(".new-held")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    fixture.cache.tidy();
    assert!(!folder.join(".new-left").exists());
    assert!(folder.join(".new-held").exists());
    assert!(fixture.found());
    drop(native);
}

#[test]
fn notes_are_kept_and_forgotten() {
    let fixture = fixture();
    fixture.cache.keep("a.note", b"text").unwrap();
    assert_eq!(
        fixture.cache.note("a.note").unwrap().as_deref(),
        Some("text")
    );
    fixture.cache.forget("a.note").unwrap();
    fixture.cache.forget("a.note").unwrap();
    assert_eq!(fixture.cache.note("a.note").unwrap(), None);
}
