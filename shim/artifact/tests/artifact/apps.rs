//! The node's unpacked applications: kept, checked, recreated and removed.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use skiff_artifact::{Apps, Held, Image, Limits};

use crate::spin::shop;
use crate::support::{Memory, file};

/// An application with one file, whose text identifies it.
fn application(text: &str) -> (Image, Memory) {
    let (image, blobs) = shop(&file("file", text.as_bytes()), &[text.as_bytes()]).read();
    (image.unwrap(), blobs)
}

fn get(apps: &Apps, (image, blobs): &(Image, Memory)) -> Held {
    apps.get(image, blobs, &Limits::default()).unwrap()
}

fn text(held: &Held) -> String {
    fs::read_to_string(held.directory().join("assets/cart/file")).unwrap()
}

fn inode(held: &Held) -> u64 {
    fs::metadata(held.directory()).unwrap().ino()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

/// Makes an application look as if it was last used this many hours ago.
fn age(held: &Held, hours: u64) {
    let used = File::open(held.directory().join("used")).unwrap();
    used.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600))
        .unwrap();
}

#[test]
fn an_application_is_unpacked_once() {
    let folder = tempfile::tempdir().unwrap();
    let apps = Apps::new(folder.path(), "today");
    let one = application("one");
    assert!(apps.find(&one.0.descriptor.digest).unwrap().is_none());
    let first = get(&apps, &one);
    assert_eq!(text(&first), "one");
    let second = get(&apps, &one);
    assert_eq!(inode(&first), inode(&second));
    assert_eq!(entries(folder.path()), [first.directory()]);
}

#[test]
fn what_lost_its_content_with_the_power_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let one = application("one");
    let damages: [&dyn Fn(&Path); 5] = [
        &|app| fs::write(app.join("assets/cart/file"), "").unwrap(),
        &|app| fs::remove_file(app.join("assets/cart/file")).unwrap(),
        &|app| fs::remove_file(app.join("contents")).unwrap(),
        &|app| fs::write(app.join("contents"), "").unwrap(),
        &|app| fs::write(app.join("assets/cart/more"), "").unwrap(),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let before = get(&Apps::new(folder.path(), &format!("boot {number}")), &one);
        damage(before.directory());
        drop(before);
        let apps = Apps::new(folder.path(), &format!("boot {}", number + 1));
        let after = get(&apps, &one);
        assert_eq!(text(&after), "one", "damage {number}");
        assert_eq!(entries(folder.path()), [after.directory()]);
    }
}

#[test]
fn what_was_not_damaged_is_looked_through_once_in_each_boot() {
    let folder = tempfile::tempdir().unwrap();
    let one = application("one");
    let first = get(&Apps::new(folder.path(), "yesterday"), &one);
    let before = inode(&first);
    let apps = Apps::new(folder.path(), "today");
    assert_eq!(inode(&get(&apps, &one)), before);
    // From now on it is trusted.
    fs::write(first.directory().join("assets/cart/more"), "").unwrap();
    assert_eq!(inode(&get(&apps, &one)), before);
    // If the boot is unknown it never is.
    let unknown = Apps::new(folder.path(), "");
    assert_ne!(inode(&get(&unknown, &one)), before);
}

#[test]
fn what_is_damaged_and_held_is_out_of_the_way_and_stays_until_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let one = application("one");
    let held = get(&Apps::new(folder.path(), "yesterday"), &one);
    fs::remove_file(held.directory().join("contents")).unwrap();
    let apps = Apps::new(folder.path(), "today");
    assert_eq!(text(&get(&apps, &one)), "one");
    assert_eq!(entries(folder.path()).len(), 2);
    assert_eq!(
        apps.tidy(u64::MAX).unwrap().leftovers,
        [""; 0].map(PathBuf::from)
    );
    drop(held);
    assert_eq!(apps.tidy(u64::MAX).unwrap().leftovers.len(), 1);
    assert_eq!(entries(folder.path()).len(), 1);
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    for left in [".unpack-abc123/assets", ".gone-abc/wasm"] {
        fs::create_dir_all(folder.path().join(left)).unwrap();
    }
    fs::create_dir(folder.path().join("something else")).unwrap();
    let apps = Apps::new(folder.path(), "today");
    let tidied = apps.tidy(u64::MAX).unwrap();
    assert_eq!(tidied.leftovers.len(), 2);
    assert_eq!(
        entries(folder.path()),
        [folder.path().join("something else")]
    );
}

#[test]
fn what_was_used_longest_ago_goes_first_and_what_is_held_stays() {
    let folder = tempfile::tempdir().unwrap();
    let apps = Apps::new(folder.path(), "today");
    let [old, used, held] = ["old", "used", "held"].map(|text| get(&apps, &application(text)));
    let all = apps.tidy(u64::MAX).unwrap().bytes;
    assert!(all >= 3 * 4096, "{all}");
    age(&held, 3);
    age(&old, 2);
    age(&used, 2);
    // The time of its last use counts, not its age.
    drop(get(&apps, &application("used")));
    let [old, used] = [old, used].map(|app| app.directory().to_owned());
    let tidied = apps.tidy(all - 1).unwrap();
    assert_eq!(tidied.evicted, [old.as_path()]);
    assert!(!old.exists() && used.exists() && held.directory().exists());
    let tidied = apps.tidy(0).unwrap();
    assert_eq!(tidied.evicted, [used]);
    assert_eq!(entries(folder.path()), [held.directory()]);
    assert_eq!(text(&held), "held");
}

#[test]
fn names_of_one_content_take_its_room_once() {
    let folder = tempfile::tempdir().unwrap();
    let apps = Apps::new(folder.path(), "today");
    let content = [7; 100_000];
    let files: Vec<_> = (0..50).map(|n| file(&format!("f{n}"), &content)).collect();
    let (image, blobs) = shop(&files.join(","), &[&content]).read();
    drop(get(&apps, &(image.unwrap(), blobs)));
    let bytes = apps.tidy(u64::MAX).unwrap().bytes;
    assert!((100_000..200_000).contains(&bytes), "{bytes}");
}

#[test]
fn an_application_that_is_gone_cannot_be_held() {
    let folder = tempfile::tempdir().unwrap();
    let apps = Apps::new(folder.path(), "today");
    let path = get(&apps, &application("one")).directory().to_owned();
    assert!(Held::take(&path).unwrap().is_some());
    apps.tidy(0).unwrap();
    assert!(Held::take(&path).unwrap().is_none());
}

#[test]
fn many_unpack_hold_and_remove_at_once_and_nobody_loses_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let images = ["one", "two", "three"].map(application);
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (images, folder) = (&images, folder.path());
            scope.spawn(move || {
                let apps = Apps::new(folder, "today");
                for turn in 0..30 {
                    let (image, blobs) = &images[(start + turn) % images.len()];
                    match apps.get(image, blobs, &Limits::default()) {
                        Ok(held) => {
                            apps.tidy(0).unwrap();
                            assert!(!text(&held).is_empty());
                        }
                        // It was removed each time before it could be locked.
                        Err(skiff_artifact::AppsError::Lost { .. }) => {}
                        Err(error) => panic!("{error}: {:?}", error),
                    }
                }
            });
        }
    });
    Apps::new(folder.path(), "today").tidy(0).unwrap();
    assert_eq!(entries(folder.path()), [""; 0].map(PathBuf::from));
}
