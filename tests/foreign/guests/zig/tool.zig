//! The program of every toolchain, in Zig's standard library: see README.md.

const std = @import("std");

/// Takes whole pages from the end of the memory, as a program does that believes it owns it.
const allocator = std.heap.wasm_allocator;

var buffer: [65536]u8 = undefined;

pub fn main() !void {
    var in_buffer: [65536]u8 = undefined;
    var in_file = std.fs.File.stdin().readerStreaming(&in_buffer);
    var out_file = std.fs.File.stdout().writerStreaming(&buffer);
    const in = &in_file.interface;
    const out = &out_file.interface;
    const args = try std.process.argsAlloc(allocator);
    const mode = if (args.len > 1) args[1] else "";
    if (std.mem.eql(u8, mode, "cat")) {
        _ = try in.streamRemaining(out);
    } else if (std.mem.eql(u8, mode, "words")) {
        const text = try in.allocRemaining(allocator, .unlimited);
        var seen = std.StringHashMap(void).init(allocator);
        var all: usize = 0;
        var words = std.mem.tokenizeAny(u8, text, " \n\r\t");
        while (words.next()) |word| {
            all += 1;
            try seen.put(word, {});
        }
        try out.print("{d} words, {d} different\n", .{ all, seen.count() });
    } else if (std.mem.eql(u8, mode, "lines")) {
        for (0..try std.fmt.parseInt(usize, args[2], 10)) |i| {
            try out.print("line {d}\n", .{i});
        }
    } else if (std.mem.eql(u8, mode, "prompt")) {
        try out.writeAll("name? ");
        try out.flush();
        const name = try in.takeDelimiterInclusive('\n');
        try out.print("hello {s}", .{name});
    } else if (std.mem.eql(u8, mode, "given")) {
        for (args[2..]) |argument| {
            try out.print("argument {s}\n", .{argument});
        }
        const greeting = std.process.getEnvVarOwned(allocator, "GREETING") catch "";
        try out.print("greeting {s}\n", .{greeting});
    } else if (std.mem.eql(u8, mode, "exit")) {
        std.process.exit(try std.fmt.parseInt(u8, args[2], 10));
    } else {
        @panic("no mode");
    }
    try out.flush();
}
