//! Which values are written to which files of a control group.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::Setting;

/// The kernel's default CPU period, in microseconds.
const PERIOD: &str = "100000";

fn setting(controller: &'static str, file: &str, value: impl ToString) -> Setting {
    Setting {
        controller,
        file: file.to_owned(),
        value: value.to_string(),
    }
}

/// For control groups of version 1.
pub(super) fn of_version_1(resources: &LinuxResources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(memory) = resources.memory() {
        settings.extend(memory_1(memory));
    }
    if let Some(cpu) = resources.cpu() {
        let numbers = [
            ("cpu", "cpu.shares", number(cpu.shares())),
            ("cpu", "cpu.cfs_period_us", number(cpu.period())),
            ("cpu", "cpu.cfs_quota_us", number(cpu.quota())),
            (
                "cpu",
                "cpu.cfs_burst_us",
                cpu.burst().map(|it| it.to_string()),
            ),
            ("cpu", "cpu.rt_period_us", number(cpu.realtime_period())),
            ("cpu", "cpu.rt_runtime_us", number(cpu.realtime_runtime())),
            ("cpu", "cpu.idle", cpu.idle().map(|it| it.to_string())),
        ];
        settings.extend(given(numbers));
        settings.extend(sets(cpu));
    }
    settings.extend(pids(resources));
    for limit in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.limit_in_bytes", limit.page_size());
        settings.push(setting("hugetlb", &file, limit.limit()));
    }
    if let Some(block) = resources.block_io() {
        settings.extend(block_1(block));
    }
    settings
}

fn memory_1(memory: &LinuxMemory) -> Vec<Setting> {
    let limit = memory.limit().filter(|limit| *limit != 0);
    // Without a memory limit there can be no limit of memory and swap.
    let both = memory.swap().filter(|both| *both != 0);
    let both = both.or_else(|| limit.filter(|limit| *limit < 0));
    let numbers = [
        ("memory", "memory.limit_in_bytes", number(limit)),
        ("memory", "memory.memsw.limit_in_bytes", number(both)),
        (
            "memory",
            "memory.soft_limit_in_bytes",
            number(memory.reservation()),
        ),
        (
            "memory",
            "memory.swappiness",
            memory.swappiness().map(|it| it.to_string()),
        ),
    ];
    given(numbers).collect()
}

fn block_1(block: &LinuxBlockIo) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(weight) = block.weight().filter(|weight| *weight != 0) {
        settings.push(setting("blkio", "blkio.bfq.weight", weight));
    }
    let kinds = [
        (
            "blkio.throttle.read_bps_device",
            block.throttle_read_bps_device(),
        ),
        (
            "blkio.throttle.write_bps_device",
            block.throttle_write_bps_device(),
        ),
        (
            "blkio.throttle.read_iops_device",
            block.throttle_read_iops_device(),
        ),
        (
            "blkio.throttle.write_iops_device",
            block.throttle_write_iops_device(),
        ),
    ];
    for (file, devices) in kinds {
        for device in devices.iter().flatten() {
            let value = format!("{} {}", name(device), device.rate());
            settings.push(setting("blkio", file, value));
        }
    }
    settings
}

/// For control groups of version 2. `current` returns a file's content.
pub(super) fn of_version_2(
    resources: &LinuxResources,
    current: &impl Fn(&str, &str) -> Option<String>,
) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(memory) = resources.memory() {
        settings.extend(memory_2(memory));
    }
    if let Some(cpu) = resources.cpu() {
        let numbers = [
            (
                "cpu",
                "cpu.weight",
                cpu.shares().filter(|it| *it != 0).map(weight),
            ),
            ("cpu", "cpu.max", cpu_max(cpu, current)),
            ("cpu", "cpu.max.burst", cpu.burst().map(|it| it.to_string())),
            ("cpu", "cpu.idle", cpu.idle().map(|it| it.to_string())),
        ];
        settings.extend(given(numbers));
        settings.extend(sets(cpu));
    }
    settings.extend(pids(resources));
    for limit in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.max", limit.page_size());
        settings.push(setting("hugetlb", &file, limit.limit()));
    }
    if let Some(block) = resources.block_io() {
        settings.extend(block_2(block));
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    // Each name must be a plain file name, whatever the specification contains.
    let files = unified.into_iter().filter(|(file, _)| !file.contains('/'));
    settings.extend(files.map(|(file, value)| setting("", file, value)));
    settings
}

fn memory_2(memory: &LinuxMemory) -> Vec<Setting> {
    let limit = memory.limit().filter(|limit| *limit != 0);
    let swap = match (memory.swap(), limit) {
        (Some(both), _) if both < 0 => Some("max".to_owned()),
        (Some(both), Some(limit)) if both > 0 && limit > 0 => {
            Some((both - limit).max(0).to_string())
        }
        (None | Some(0), Some(limit)) if limit < 0 => Some("max".to_owned()),
        _ => None,
    };
    let reservation = memory.reservation().filter(|it| *it != 0);
    let numbers = [
        ("memory", "memory.max", limit.map(or_max)),
        ("memory", "memory.swap.max", swap),
        ("memory", "memory.low", reservation.map(or_max)),
    ];
    given(numbers).collect()
}

/// Converts as libcontainer does when a container is created.
fn weight(shares: u64) -> String {
    let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
    weight.to_string()
}

fn cpu_max(cpu: &LinuxCpu, current: &impl Fn(&str, &str) -> Option<String>) -> Option<String> {
    let quota = cpu.quota().filter(|it| *it != 0);
    let period = cpu.period().filter(|it| *it != 0);
    if quota.is_none() && period.is_none() {
        return None;
    }
    let now = current("cpu", "cpu.max").unwrap_or_default();
    let (before, before_period) = now.split_once(' ').unwrap_or(("max", PERIOD));
    let quota = quota.map_or_else(|| before.to_owned(), or_max);
    let period = period.map_or_else(|| before_period.to_owned(), |it| it.to_string());
    Some(format!("{quota} {period}"))
}

fn block_2(block: &LinuxBlockIo) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(weight) = block.weight().filter(|weight| *weight != 0) {
        settings.push(setting("io", "io.bfq.weight", weight));
    }
    let kinds = [
        ("rbps", block.throttle_read_bps_device()),
        ("wbps", block.throttle_write_bps_device()),
        ("riops", block.throttle_read_iops_device()),
        ("wiops", block.throttle_write_iops_device()),
    ];
    for (key, devices) in kinds {
        for device in devices.iter().flatten() {
            let value = format!("{} {key}={}", name(device), device.rate());
            settings.push(setting("io", "io.max", value));
        }
    }
    settings
}

/// Processors and memory nodes, which are written the same way in both versions.
fn sets(cpu: &LinuxCpu) -> impl Iterator<Item = Setting> {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    given([
        ("cpuset", "cpuset.cpus", text(cpu.cpus())),
        ("cpuset", "cpuset.mems", text(cpu.mems())),
    ])
}

fn pids(resources: &LinuxResources) -> Option<Setting> {
    let limit = resources.pids().as_ref()?.limit();
    (limit != 0).then(|| setting("pids", "pids.max", or_max(limit)))
}

fn name(device: &LinuxThrottleDevice) -> String {
    format!("{}:{}", device.major(), device.minor())
}

/// Zero means that the value is missing.
fn number<N: ToString + Default + PartialEq>(number: Option<N>) -> Option<String> {
    let number = number.filter(|number| *number != N::default());
    number.map(|number| number.to_string())
}

fn or_max(number: i64) -> String {
    match number {
        ..0 => "max".to_owned(),
        number => number.to_string(),
    }
}

fn given<const N: usize>(
    values: [(&'static str, &'static str, Option<String>); N],
) -> impl Iterator<Item = Setting> {
    let given = |(controller, file, value): (_, &str, Option<String>)| {
        Some(setting(controller, file, value?))
    };
    values.into_iter().filter_map(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn resources(given: Value) -> LinuxResources {
        serde_json::from_value(given).unwrap()
    }

    fn lines(settings: Vec<Setting>) -> Vec<String> {
        let line = |it: Setting| format!("{} = {}", it.file, it.value);
        settings.into_iter().map(line).collect()
    }

    fn version_1(given: Value) -> Vec<String> {
        lines(of_version_1(&resources(given)))
    }

    fn version_2(given: Value) -> Vec<String> {
        let current = |_: &str, file: &str| (file == "cpu.max").then(|| "5000 50000".to_owned());
        lines(of_version_2(&resources(given), &current))
    }

    #[test]
    fn nothing_is_written_where_nothing_is_given() {
        for nothing in [
            json!({}),
            json!({ "memory": {}, "cpu": {}, "pids": { "limit": 0 } }),
            json!({ "memory": { "limit": 0, "swap": 0 }, "cpu": { "shares": 0, "quota": 0, "cpus": "" } }),
        ] {
            assert!(version_1(nothing.clone()).is_empty(), "{nothing}");
            assert!(version_2(nothing.clone()).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn a_resize_is_written_in_both_versions() {
        let resize = json!({
            "memory": { "limit": 1000, "swap": 1500, "reservation": 500 },
            "cpu": { "shares": 1024, "quota": 20000, "period": 100000, "cpus": "0-1", "mems": "0" },
            "pids": { "limit": 7 },
            "hugepageLimits": [{ "pageSize": "2MB", "limit": 4096 }],
        });
        assert_eq!(
            version_1(resize.clone()),
            [
                "memory.limit_in_bytes = 1000",
                "memory.memsw.limit_in_bytes = 1500",
                "memory.soft_limit_in_bytes = 500",
                "cpu.shares = 1024",
                "cpu.cfs_period_us = 100000",
                "cpu.cfs_quota_us = 20000",
                "cpuset.cpus = 0-1",
                "cpuset.mems = 0",
                "pids.max = 7",
                "hugetlb.2MB.limit_in_bytes = 4096",
            ]
        );
        assert_eq!(
            version_2(resize),
            [
                "memory.max = 1000",
                "memory.swap.max = 500",
                "memory.low = 500",
                "cpu.weight = 39",
                "cpu.max = 20000 100000",
                "cpuset.cpus = 0-1",
                "cpuset.mems = 0",
                "pids.max = 7",
                "hugetlb.2MB.max = 4096",
            ]
        );
    }

    #[test]
    fn limits_are_taken_away_by_negative_numbers() {
        let none =
            json!({ "memory": { "limit": -1 }, "cpu": { "quota": -1 }, "pids": { "limit": -1 } });
        let one = [
            "memory.limit_in_bytes = -1",
            "memory.memsw.limit_in_bytes = -1",
            "cpu.cfs_quota_us = -1",
            "pids.max = max",
        ];
        assert_eq!(version_1(none.clone()), one);
        let two = [
            "memory.max = max",
            "memory.swap.max = max",
            "cpu.max = max 50000",
            "pids.max = max",
        ];
        assert_eq!(version_2(none), two);
    }

    #[test]
    fn what_is_left_out_of_the_processors_time_stays() {
        assert_eq!(
            version_2(json!({ "cpu": { "period": 1000 } })),
            ["cpu.max = 5000 1000"]
        );
        assert_eq!(
            version_2(json!({ "cpu": { "quota": 9 } })),
            ["cpu.max = 9 50000"]
        );
    }

    #[test]
    fn devices_and_files_are_written_one_by_one() {
        let device = json!([{ "major": 8, "minor": 1, "rate": 9 }]);
        let block = json!({ "blockIO": { "weight": 100, "throttleReadBpsDevice": device } });
        assert_eq!(
            version_1(block.clone()),
            [
                "blkio.bfq.weight = 100",
                "blkio.throttle.read_bps_device = 8:1 9"
            ]
        );
        assert_eq!(
            version_2(block),
            ["io.bfq.weight = 100", "io.max = 8:1 rbps=9"]
        );
        let unified = json!({ "unified": { "memory.high": "1", "../x": "2" } });
        assert_eq!(version_2(unified), ["memory.high = 1"]);
    }
}
