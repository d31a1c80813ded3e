/* Numbers the calls by which a program changes files below a folder, and spoils one of them.
 *
 * Loaded with LD_PRELOAD, so that it sees every call that goes through the C library, which is how
 * Rust's std makes them. What a program asks of the kernel directly (rustix, assembler) it does not
 * see, nor what the C library calls within itself (stdio, getaddrinfo).
 *
 *   MOCO_FAULT_ROOT   the folder, absolute and without links; calls elsewhere are left alone
 *   MOCO_FAULT_LOG    file that gets a line "NUMBER CALL BYTES RESULT PATH" for each numbered call
 *   MOCO_FAULT_AT     number of the call to spoil; 0 or unset spoils none
 *   MOCO_FAULT_KIND   how:
 *     kill    SIGKILL before the call
 *     torn    a write puts down half its bytes, then SIGKILL; any other call is as with `kill`
 *     enospc  the call fails with ENOSPC, later ones do not
 *     full    a write puts down half its bytes; then, for good, whatever takes up space fails with
 *             ENOSPC, while creating an empty file, renaming and deleting work: so does ext4
 *     eio     the call fails with EIO
 *     short   a write or read returns after half its bytes
 *   MOCO_FAULT_READS  1 numbers reads, and opening files and folders for them, instead of changes
 *
 * The folder of a file descriptor is asked of /proc at each call, so that duplicates, descriptors
 * from elsewhere and closed ones need no bookkeeping. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { NONE, KILL, TORN, ENOSPC_ONCE, FULL, EIO_ONCE, SHORT };
static const char *const kind_names[] = {"none", "kill", "torn", "enospc", "full", "eio", "short"};

static char root[PATH_MAX];
static size_t root_length;
static int log_file = -1;
static long spoiled;
static enum kind kind;
static int reads;
static atomic_long calls;
static atomic_int disk_is_full;

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("MOCO_FAULT_ROOT");
    if (!text || strlen(text) >= sizeof root) return;
    strcpy(root, text);
    root_length = strlen(root);
    const char *at = getenv("MOCO_FAULT_AT"), *name = getenv("MOCO_FAULT_KIND");
    const char *read = getenv("MOCO_FAULT_READS"), *log = getenv("MOCO_FAULT_LOG");
    spoiled = at ? atol(at) : 0;
    for (int i = 0; name && i <= SHORT; i++)
        if (!strcmp(name, kind_names[i])) kind = i;
    reads = read && !strcmp(read, "1");
    if (log)
        log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

/* ---- which files ---- */

static int is_below(const char *path) {
    return root_length && !strncmp(path, root, root_length) &&
           (path[root_length] == '/' || path[root_length] == 0);
}

/* The path behind a descriptor, or "". */
static void path_of(int file, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
}

/* `name` as seen from the folder `dir`, in full; "" if that is too long. */
static void full_path(int dir, const char *name, char *path) {
    char base[PATH_MAX] = "";
    if (name[0] != '/') {
        if (dir == AT_FDCWD) {
            if (syscall(SYS_getcwd, base, sizeof base) < 0) base[0] = 0;
        } else {
            path_of(dir, base);
        }
        while (!strncmp(name, "./", 2)) name += 2;
    }
    int length = snprintf(path, PATH_MAX, "%s%s%s", base, base[0] ? "/" : "", name);
    if (length < 0 || length >= PATH_MAX) path[0] = 0;
}

/* ---- what is done to a call ---- */

/* What becomes of one call. */
struct fate {
    long number;     /* 0: it is not counted */
    enum kind kind;  /* NONE: it takes place */
};

static void die(void) {
    syscall(SYS_kill, (int)syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

static void note(long number, const char *call, long bytes, long result, const char *path) {
    if (!number || log_file < 0) return;
    char line[PATH_MAX + 128];
    int length = snprintf(line, sizeof line, "%ld %s %ld %ld %s\n", number, call, bytes,
                          result < 0 ? -(long)errno : result, path);
    int before = errno;
    if (length > 0 && length < (int)sizeof line) syscall(SYS_write, log_file, line, (size_t)length);
    errno = before;
}

/* Numbers a call on `path` and says what becomes of it. `takes_space`: it fails on a full disk. */
static struct fate next(const char *call, int is_read, int takes_space, const char *path) {
    struct fate fate = {0, NONE};
    if (!is_below(path)) return fate;
    if (!is_read && takes_space && atomic_load(&disk_is_full)) fate.kind = ENOSPC_ONCE;
    if (is_read != reads) return fate;
    fate.number = atomic_fetch_add(&calls, 1) + 1;
    if (fate.number != spoiled) return fate;
    fate.kind = kind;
    if (kind == FULL) atomic_store(&disk_is_full, 1);
    if (kind == KILL) {
        errno = 0;
        note(fate.number, call, 0, -1, path);
        die();
    }
    return fate;
}

/* The result of a call that moves no bytes. */
#define WHOLE(call, takes_space, path, real)                         \
    do {                                                             \
        struct fate fate = next(call, 0, takes_space, path);         \
        long result = -1;                                            \
        switch (fate.kind) {                                         \
        case TORN: die(); break;                                     \
        case EIO_ONCE: errno = EIO; break;                           \
        case ENOSPC_ONCE: errno = ENOSPC; break;                     \
        case FULL:                                                   \
            if (takes_space) { errno = ENOSPC; break; }              \
            /* fall through */                                       \
        default: result = (real); break;                             \
        }                                                            \
        note(fate.number, call, 0, result, path);                    \
        return result;                                               \
    } while (0)

/* The result of a call that moves `bytes` bytes, of which `part(n)` moves the first n. */
#define MOVED(call, is_read, file, bytes, real, half)                \
    do {                                                             \
        char path[PATH_MAX];                                         \
        path_of(file, path);                                         \
        struct fate fate = next(call, is_read, !(is_read), path);    \
        ssize_t result = -1;                                         \
        switch (fate.kind) {                                         \
        case EIO_ONCE: errno = EIO; break;                           \
        case ENOSPC_ONCE: errno = ENOSPC; break;                     \
        case TORN: if ((bytes) > 1) result = (half); break;          \
        case FULL: case SHORT:                                       \
            if ((bytes) > 1) result = (half);                        \
            else if (fate.kind == FULL) errno = ENOSPC;              \
            else result = (real);                                    \
            break;                                                   \
        default: result = (real); break;                             \
        }                                                            \
        note(fate.number, call, (long)(bytes), result, path);        \
        if (fate.kind == TORN) die();                                \
        return result;                                               \
    } while (0)

/* ---- opening ---- */

static int opened(int dir, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    full_path(dir, name, path);
    if (!(flags & (O_CREAT | O_TRUNC)) && (flags & O_TMPFILE) != O_TMPFILE) {
        struct fate fate = {0, NONE};
        if (reads && !(flags & O_ACCMODE)) fate = next("open", 1, 0, path);
        long result = -1;
        if (fate.kind == EIO_ONCE) errno = EIO;
        else if (fate.kind == TORN) die();
        else result = syscall(SYS_openat, dir, name, flags, mode);
        note(fate.number, "open", 0, result, path);
        return result;
    }
    WHOLE("create", 0, path, syscall(SYS_openat, dir, name, flags, mode));
}

/* The third or fourth argument is there only when a file may come into being. */
#define MODE(flags)                                                  \
    mode_t mode = 0;                                                 \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                           \
        va_list rest;                                                \
        va_start(rest, flags);                                       \
        mode = va_arg(rest, mode_t);                                 \
        va_end(rest);                                                \
    }

int open(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int openat(int dir, const char *name, int flags, ...) { MODE(flags) return opened(dir, name, flags, mode); }
int openat64(int dir, const char *name, int flags, ...) { MODE(flags) return opened(dir, name, flags, mode); }
int creat(const char *name, mode_t mode) { return opened(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *name, mode_t mode) { return creat(name, mode); }

/* Folders are opened to list them. */
DIR *opendir(const char *name) {
    int file = opened(AT_FDCWD, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    return file < 0 ? NULL : fdopendir(file);
}

/* ---- bytes ---- */

static size_t sum(const struct iovec *parts, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    return bytes;
}

/* Writes the first half of what is to be written, which a full disk or a signal may do. */
static ssize_t write_half(int file, const struct iovec *parts, int count, off_t at) {
    size_t left = sum(parts, count) / 2;
    ssize_t done = 0;
    for (int i = 0; i < count && left > 0; i++) {
        size_t bytes = parts[i].iov_len < left ? parts[i].iov_len : left;
        ssize_t now = at < 0 ? syscall(SYS_write, file, parts[i].iov_base, bytes)
                             : syscall(SYS_pwrite64, file, parts[i].iov_base, bytes, at + done);
        if (now < 0) return done ? done : now;
        done += now;
        left -= now;
    }
    return done;
}

ssize_t write(int file, const void *bytes, size_t count) {
    struct iovec part = {(void *)bytes, count};
    MOVED("write", 0, file, count, syscall(SYS_write, file, bytes, count), write_half(file, &part, 1, -1));
}
ssize_t pwrite64(int file, const void *bytes, size_t count, off_t at) {
    struct iovec part = {(void *)bytes, count};
    MOVED("pwrite", 0, file, count, syscall(SYS_pwrite64, file, bytes, count, at), write_half(file, &part, 1, at));
}
ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) { return pwrite64(file, bytes, count, at); }
ssize_t writev(int file, const struct iovec *parts, int count) {
    MOVED("writev", 0, file, sum(parts, count), syscall(SYS_writev, file, parts, count), write_half(file, parts, count, -1));
}
ssize_t pwritev64(int file, const struct iovec *parts, int count, off_t at) {
    MOVED("pwritev", 0, file, sum(parts, count), syscall(SYS_pwritev, file, parts, count, at, 0L), write_half(file, parts, count, at));
}
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) { return pwritev64(file, parts, count, at); }
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
    MOVED("copy_file_range", 0, to, count, syscall(SYS_copy_file_range, from, from_at, to, to_at, count, flags),
          syscall(SYS_copy_file_range, from, from_at, to, to_at, count / 2, flags));
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t count) {
    MOVED("sendfile", 0, to, count, syscall(SYS_sendfile, to, from, at, count),
          syscall(SYS_sendfile, to, from, at, count / 2));
}
ssize_t sendfile(int to, int from, off_t *at, size_t count) { return sendfile64(to, from, at, count); }

ssize_t read(int file, void *bytes, size_t count) {
    if (!reads) return syscall(SYS_read, file, bytes, count);
    MOVED("read", 1, file, count, syscall(SYS_read, file, bytes, count), syscall(SYS_read, file, bytes, count / 2));
}
ssize_t pread64(int file, void *bytes, size_t count, off_t at) {
    if (!reads) return syscall(SYS_pread64, file, bytes, count, at);
    MOVED("pread", 1, file, count, syscall(SYS_pread64, file, bytes, count, at), syscall(SYS_pread64, file, bytes, count / 2, at));
}
ssize_t pread(int file, void *bytes, size_t count, off_t at) { return pread64(file, bytes, count, at); }
ssize_t readv(int file, const struct iovec *parts, int count) {
    if (!reads) return syscall(SYS_readv, file, parts, count);
    MOVED("readv", 1, file, sum(parts, count), syscall(SYS_readv, file, parts, count), syscall(SYS_readv, file, parts, 1));
}

/* ---- files as wholes ---- */

static int on_file(const char *call, int takes_space, int file, long number, long a, long b, long c) {
    char path[PATH_MAX];
    path_of(file, path);
    WHOLE(call, takes_space, path, syscall(number, file, a, b, c));
}

int fsync(int file) { return on_file("fsync", 0, file, SYS_fsync, 0, 0, 0); }
int fdatasync(int file) { return on_file("fdatasync", 0, file, SYS_fdatasync, 0, 0, 0); }
int ftruncate64(int file, off_t length) { return on_file("ftruncate", 0, file, SYS_ftruncate, length, 0, 0); }
int ftruncate(int file, off_t length) { return ftruncate64(file, length); }
int fallocate64(int file, int mode, off_t from, off_t length) { return on_file("fallocate", 1, file, SYS_fallocate, mode, from, length); }
int fallocate(int file, int mode, off_t from, off_t length) { return fallocate64(file, mode, from, length); }
int posix_fallocate64(int file, off_t from, off_t length) { return fallocate64(file, 0, from, length) < 0 ? errno : 0; }
int posix_fallocate(int file, off_t from, off_t length) { return posix_fallocate64(file, from, length); }

int truncate64(const char *name, off_t length) {
    char path[PATH_MAX];
    full_path(AT_FDCWD, name, path);
    WHOLE("truncate", 0, path, syscall(SYS_truncate, name, length));
}
int truncate(const char *name, off_t length) { return truncate64(name, length); }

/* ---- names ---- */

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char path[PATH_MAX];
    full_path(to_dir, to, path);
    WHOLE("rename", 0, path, syscall(SYS_renameat2, from_dir, from, to_dir, to, flags));
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return renameat2(from_dir, from, to_dir, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dir, const char *name, int flags) {
    char path[PATH_MAX];
    full_path(dir, name, path);
    WHOLE("unlink", 0, path, syscall(SYS_unlinkat, dir, name, flags));
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int dir, const char *name, mode_t mode) {
    char path[PATH_MAX];
    full_path(dir, name, path);
    WHOLE("mkdir", 1, path, syscall(SYS_mkdirat, dir, name, mode));
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char path[PATH_MAX];
    full_path(to_dir, to, path);
    WHOLE("link", 1, path, syscall(SYS_linkat, from_dir, from, to_dir, to, flags));
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int symlinkat(const char *from, int dir, const char *name) {
    char path[PATH_MAX];
    full_path(dir, name, path);
    WHOLE("symlink", 1, path, syscall(SYS_symlinkat, from, dir, name));
}
int symlink(const char *from, const char *name) { return symlinkat(from, AT_FDCWD, name); }
