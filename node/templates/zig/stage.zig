//! Which language is a text in?
//!
//! A stage is a program: one record on stdin, its result on stdout, settings as --key=value arguments, exit code 0. It
//! has no files, no network, no environment and no real clock, and every record gets a fresh start of it. This one
//! counts how many words of the text are among the commonest of each language. Replace `judge` by your own work, and
//! say in guild.toml what comes in and goes out.

const std = @import("std");
const wasi = std.os.wasi;

/// What guild.toml lists as labels, with the commonest words. A fifth one, `und`, is ISO 639 for undetermined.
const languages = [_]struct { code: []const u8, words: []const u8 }{
    .{ .code = "de", .words = "der die das und ist nicht ein eine ich sie es mit von zu den auf" },
    .{ .code = "en", .words = "the of and to in is it that was for with not this are you on" },
    .{ .code = "es", .words = "el la los las de que y en un una es no con por para se" },
    .{ .code = "fr", .words = "le la les des de et est que un une ne pas dans pour qui il" },
};

/// Letters are A to Z and everything beyond ASCII.
fn isLetter(byte: u8) bool {
    return std.ascii.isAlphabetic(byte) or !std.ascii.isAscii(byte);
}

fn isKnown(words: []const u8, word: []const u8) bool {
    var each = std.mem.splitScalar(u8, words, ' ');
    while (each.next()) |known| {
        if (std.ascii.eqlIgnoreCase(known, word)) return true;
    }
    return false;
}

/// One prediction as JSON. Below `least` known words it does not dare to answer.
fn judge(text: []const u8, least: u64, buffer: []u8) ![]const u8 {
    var hits: [languages.len]u64 = @splat(0);
    var all: u64 = 0;
    var rest = text;
    while (rest.len > 0) {
        var end: usize = 0;
        while (end < rest.len and isLetter(rest[end])) end += 1;
        for (languages, &hits) |language, *count| {
            if (isKnown(language.words, rest[0..end])) {
                count.* += 1;
                all += 1;
            }
        }
        rest = rest[@min(end + 1, rest.len)..];
    }
    if (all == 0 or all < least) {
        return "[{\"input\":0,\"value\":{\"class\":\"und\"}}]";
    }
    const best = std.mem.indexOfMax(u64, &hits);
    // Thousandths in whole numbers: the same bytes on every machine.
    const share = (2000 * hits[best] + all) / (2 * all);
    return std.fmt.bufPrint(
        buffer,
        "[{{\"input\":0,\"value\":{{\"class\":\"{s}\"}},\"confidence\":{d}.{d:0>3}}}]",
        .{ languages[best].code, share / 1000, share % 1000 },
    );
}

// The streams of WASI itself, and panics without words: std.Io and the usual panic bring along files and folders, and
// what a stage cannot have it may not import either.
pub const panic = std.debug.no_panic;

fn readAll(memory: std.mem.Allocator) ![]const u8 {
    var text: std.ArrayList(u8) = .empty;
    while (true) {
        try text.ensureUnusedCapacity(memory, 4096);
        const room = text.unusedCapacitySlice();
        const into = [_]std.posix.iovec{.{ .base = room.ptr, .len = room.len }};
        var got: usize = 0;
        if (wasi.fd_read(0, &into, into.len, &got) != .SUCCESS) return error.Stdin;
        if (got == 0) return text.items;
        text.items.len += got;
    }
}

fn writeAll(fd: wasi.fd_t, text: []const u8) !void {
    var rest = text;
    while (rest.len > 0) {
        const from = [_]std.posix.iovec_const{.{ .base = rest.ptr, .len = rest.len }};
        var done: usize = 0;
        if (wasi.fd_write(fd, &from, from.len, &done) != .SUCCESS) return error.Stdout;
        rest = rest[done..];
    }
}

fn stage(arguments: std.process.Args) !void {
    var arena: std.heap.ArenaAllocator = .init(std.heap.page_allocator);
    const memory = arena.allocator();
    var least: u64 = 1;
    for ((try arguments.toSlice(memory))[1..]) |setting| {
        const number = std.mem.cutPrefix(u8, setting, "--least=") orelse "";
        least = std.fmt.parseInt(u64, number, 10) catch return error.Setting;
    }
    var buffer: [128]u8 = undefined;
    try writeAll(1, try judge(try readAll(memory), least, &buffer));
}

pub fn main(init: std.process.Init.Minimal) u8 {
    stage(init.args) catch |failed| {
        // What goes to stderr is shown by `guild test --input`.
        writeAll(2, switch (failed) {
            error.Setting => "not a setting: there is --least=NUMBER\n",
            error.OutOfMemory => "there is too little memory for this text\n",
            else => "stdin or stdout is broken\n",
        }) catch {};
        return if (failed == error.Setting) 2 else 1;
    };
    return 0;
}
