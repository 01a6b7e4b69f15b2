/* A GPU's memory, copies, streams, events and launches on the host, as CuPy sees them.

   Every function here has the signature of an entry of CuPy's own C tables and takes its place (see capi.py).
   They are C and not Python because CuPy calls some of them until the interpreter has shut down, and because
   a launch should cost microseconds.

   Memory    A block is filled with 0xFF, which is a NaN in every float format: what nobody wrote shows.  512 bytes
             on either side are watched, and a kernel that wrote there is reported when the block is freed; one
             whose asynchronous copy (tensor_cores.h) reads outside of all blocks is reported at once.
   Copies    Work on a stream of its own happens as LATE as CUDA allows, when somebody waits for it.  So a batch
             used before its event, or a pinned buffer refilled too early, gives wrong numbers here as it may on
             a GPU.  Copies from and to pageable memory block the host in CUDA, and are made at once here.
   Kernels   run at once, thread by thread, after the copies that their stream waits for. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

extern char _Py_NoneStruct[];
extern void *PyExc_RuntimeError;
extern void Py_IncRef(void *);
extern void PyErr_SetString(void *, const char *);
extern void *PyLong_FromLong(long);

static void *none(void) { Py_IncRef(_Py_NoneStruct); return _Py_NoneStruct; }
static void *fail(const char *text) { PyErr_SetString(PyExc_RuntimeError, text); return NULL; }

/* What the host waited for, what was copied and launched.  Read by device.py. */
long long live_bytes, peak_bytes, allocations, overruns, launches, synchronizations;
long long copies_h2d, copies_h2d_pageable, copies_d2h, copies_d2d, copies_h2h, bytes_h2d, bytes_d2h;

/* ------------------------------------------------------------------------------------------ memory */

enum { MARGIN = 512 };

struct block { size_t size; int pinned; struct block *previous, *next; };
static struct block *blocks, *last_read;
static struct block *waiting_to_be_freed;  /* freed while copies were under way: those may still read it */

/* AddressSanitizer's, where a program runs under it: what kernels must not touch. */
__attribute__((weak)) void __asan_poison_memory_region(void const volatile *start, size_t size);

static char *start_of(struct block *b) { return (char *)b + MARGIN; }

static intptr_t allocate(size_t size, int pinned)
{
    char *memory = aligned_alloc(MARGIN, (size + 3 * MARGIN - 1) / MARGIN * MARGIN);
    if (!memory) { PyErr_SetString(PyExc_RuntimeError, "cupyemu: the host is out of memory"); return 0; }
    struct block *b = (struct block *)memory;
    memset(memory, 0xFF, size + 2 * MARGIN);
    *b = (struct block){size, pinned, NULL, blocks};
    if (blocks) blocks->previous = b;
    blocks = b;
    if (__asan_poison_memory_region) {
        __asan_poison_memory_region(b + 1, start_of(b) - (char *)(b + 1));
        __asan_poison_memory_region(start_of(b) + size, MARGIN);
    }
    return (intptr_t)start_of(b);
}

static int untouched(const char *memory, size_t size)
{
    for (size_t i = 0; i < size; i++) if (memory[i] != (char)0xFF) return 0;
    return 1;
}

static void release(struct block *b)
{
    const char *front = (char *)(b + 1);
    if (!untouched(front, start_of(b) - front) || !untouched(start_of(b) + b->size, MARGIN)) {
        fprintf(stderr, "cupyemu: a kernel wrote outside an array of %zu bytes\n", b->size);
        overruns++;
    }
    if (b->previous) b->previous->next = b->next; else blocks = b->next;
    if (b->next) b->next->previous = b->previous;
    if (last_read == b) last_read = NULL;
    free(b);
}

static struct block *block_of(intptr_t p)
{
    for (struct block *b = blocks; b; b = b->next)
        if (p >= (intptr_t)start_of(b) && p < (intptr_t)start_of(b) + (intptr_t)b->size) return b;
    return NULL;
}

static int holds(struct block *b, const char *from, size_t size)
{
    return b && from >= start_of(b) && from + size <= start_of(b) + b->size;
}

/* A kernel reads `size` bytes at once, which must be of one array, on a multiple of their number. */
void emu_global_read(const char *from, size_t size)
{
    static int said;
    const char *problem = "outside of all arrays";
    if ((uintptr_t)from % size) problem = "from an address that is not aligned";
    else if (holds(last_read, from, size)) return;
    else for (struct block *b = blocks; b; b = b->next)
        if (holds(b, from, size)) { last_read = b; return; }
    if (!said++) fprintf(stderr, "cupyemu: a kernel read %s\n", problem);
    overruns++;
}

intptr_t emu_malloc(size_t size, int skip)
{
    allocations++;
    live_bytes += size;
    if (live_bytes > peak_bytes) peak_bytes = live_bytes;
    return allocate(size, 0);
}

intptr_t emu_host_alloc(size_t size, unsigned flags, int skip) { return allocate(size, 1); }

/* ------------------------------------------------------------------------------------------ streams */

struct stream { int blocking; };                    /* the null stream, which waits for blocking ones, is 0 to 2 */
struct event { intptr_t stream; long long ticket; };
struct copy { intptr_t to, from; size_t size; intptr_t stream; long long ticket; struct copy *next; };
static struct copy *pending;                        /* in the order in which they were asked for */
static long long last_ticket;

static int is_null(intptr_t stream) { return stream <= 2; }

static void *emu_free_block(intptr_t p)
{
    struct block *b = (struct block *)(p - MARGIN);
    if (!b->pinned) live_bytes -= b->size;
    if (!pending) { release(b); return none(); }
    if (b->previous) b->previous->next = b->next; else blocks = b->next;  /* out of one list, into the other */
    if (b->next) b->next->previous = b->previous;
    b->previous = NULL;
    b->next = waiting_to_be_freed;
    waiting_to_be_freed = b;
    return none();
}

void *emu_free(intptr_t p, int skip) { return p ? emu_free_block(p) : none(); }
void *emu_free_host(intptr_t p, int skip) { return p ? emu_free_block(p) : none(); }

static void free_what_waited(void)
{
    while (waiting_to_be_freed) {
        struct block *b = waiting_to_be_freed;
        waiting_to_be_freed = b->next;
        b->previous = NULL;
        b->next = blocks;
        if (blocks) blocks->previous = b;
        blocks = b;
        release(b);
    }
}

/* Whether work on `stream` comes after the copy c: the null stream and the blocking ones wait for each other. */
static int comes_after(intptr_t stream, const struct copy *c)
{
    if (c->stream == stream) return 1;
    int other = is_null(c->stream) || ((struct stream *)c->stream)->blocking;
    return is_null(stream) ? other : is_null(c->stream) && ((struct stream *)stream)->blocking;
}

/* Make the copies asked for until `ticket` that work on `stream` comes after. */
static void catch_up(intptr_t stream, long long ticket)
{
    for (struct copy **link = &pending; *link;) {
        struct copy *c = *link;
        if (c->ticket > ticket || !comes_after(stream, c)) { link = &c->next; continue; }
        memcpy((void *)c->to, (void *)c->from, c->size);
        *link = c->next;
        free(c);
    }
    if (!pending) free_what_waited();
}

void emu_catch_up(intptr_t stream) { catch_up(stream, last_ticket); }

static void catch_up_all(void)
{
    while (pending) catch_up(pending->stream, last_ticket);
}

intptr_t emu_stream_create(int skip)
{
    struct stream *s = malloc(sizeof *s);
    s->blocking = 1;
    return (intptr_t)s;
}

intptr_t emu_stream_create_with_flags(unsigned flags, int skip)
{
    intptr_t s = emu_stream_create(0);
    ((struct stream *)s)->blocking = !(flags & 1);  /* cudaStreamNonBlocking */
    return s;
}

intptr_t emu_stream_create_with_priority(unsigned flags, int priority, int skip)
{
    return emu_stream_create_with_flags(flags, 0);
}

void *emu_stream_destroy(intptr_t stream, int skip)
{
    catch_up(stream, last_ticket);
    free((void *)stream);
    return none();
}

void *emu_stream_synchronize(intptr_t stream, int skip)
{
    synchronizations++;
    catch_up(stream, last_ticket);
    return none();
}

void *emu_device_synchronize(int skip)
{
    synchronizations++;
    catch_up_all();
    return none();
}

intptr_t emu_event_create(int skip) { return (intptr_t)calloc(1, sizeof(struct event)); }
intptr_t emu_event_create_with_flags(unsigned flags, int skip) { return emu_event_create(0); }
void *emu_event_destroy(intptr_t event, int skip) { free((void *)event); return none(); }

void *emu_event_record(intptr_t event, intptr_t stream, int skip)
{
    *(struct event *)event = (struct event){stream, ++last_ticket};
    return none();
}

void *emu_stream_wait_event(intptr_t stream, intptr_t event, int skip, void *optional)
{
    struct event *e = (struct event *)event;
    if (e->ticket) catch_up(e->stream, e->ticket);
    return none();
}

void *emu_event_synchronize(intptr_t event, int skip)
{
    synchronizations++;
    return emu_stream_wait_event(0, event, 0, NULL);
}

float emu_event_elapsed_time(intptr_t from, intptr_t to, int skip) { return 1; }
int emu_get_device(int skip) { return 0; }
int emu_stream_is_capturing(intptr_t stream, int skip) { return 0; }
void *emu_ensure_context(void) { return none(); }
void *emu_set_device(int device, int skip) { return none(); }
void *emu_nothing(intptr_t handle, int skip) { return none(); }

static void *ready(int yes) { return PyLong_FromLong(yes ? 0 : 600); }  /* cudaSuccess, cudaErrorNotReady */

void *emu_stream_query(intptr_t stream, int skip)
{
    for (struct copy *c = pending; c; c = c->next) if (comes_after(stream, c)) return ready(0);
    return ready(1);
}

void *emu_event_query(intptr_t event, int skip)
{
    struct event *e = (struct event *)event;
    for (struct copy *c = pending; c; c = c->next)
        if (c->ticket <= e->ticket && comes_after(e->stream, c)) return ready(0);
    return ready(1);
}

/* ------------------------------------------------------------------------------------------- copies */

void *emu_memcpy_async(intptr_t to, intptr_t from, size_t size, int kind, intptr_t stream, int skip)
{
    struct block *target = block_of(to), *source = block_of(from);
    int to_device = target && !target->pinned, from_device = source && !source->pinned;
    int pageable = !target || !source;
    if (from_device && to_device) copies_d2d++;
    else if (to_device) { copies_h2d++; copies_h2d_pageable += pageable; bytes_h2d += size; }
    else if (from_device) { copies_d2h++; bytes_d2h += size; }
    else copies_h2h++;
    if (pageable || (from_device && to_device && is_null(stream))) {
        catch_up(stream, last_ticket);
        memcpy((void *)to, (void *)from, size);
        return none();
    }
    struct copy **link = &pending;
    while (*link) link = &(*link)->next;
    *link = malloc(sizeof **link);
    **link = (struct copy){to, from, size, stream, ++last_ticket, NULL};
    return none();
}

void *emu_memcpy(intptr_t to, intptr_t from, size_t size, int kind, int skip)
{
    void *result = emu_memcpy_async(to, from, size, kind, 0, 0);
    catch_up(0, last_ticket);
    return result;
}

void *emu_memset_async(intptr_t to, int value, size_t size, intptr_t stream, int skip)
{
    catch_up(stream, last_ticket);
    memset((void *)to, value, size);
    return none();
}

void *emu_memset(intptr_t to, int value, size_t size, int skip) { return emu_memset_async(to, value, size, 0, 0); }

/* cudaMemoryType: 0 unregistered, 1 host, 2 device */
int emu_memory_type(intptr_t p, int skip)
{
    struct block *b = block_of(p);
    return b ? (b->pinned ? 1 : 2) : 0;
}

/* ----------------------------------------------------------------------------------------- launches */

int emu_idle;  /* whether kernels are counted and not run */

struct kernel { const char *(*run)(const unsigned *grid, void **arguments); long long launches; };

void *emu_launch(intptr_t function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                 unsigned shared_bytes, intptr_t stream, intptr_t arguments, intptr_t extra, int skip)
{
    struct kernel *kernel = (struct kernel *)function;
    unsigned grid[7] = {gx, gy, gz, bx, by, bz, shared_bytes};
    if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || !bx || !by || !bz || bz > 64
        || (unsigned long long)bx * by * bz > 1024 || shared_bytes > 49152)
        return fail("cupyemu: CUDA_ERROR_INVALID_VALUE: the grid, the block or its shared memory is too large");
    launches++;
    kernel->launches++;
    catch_up(stream, last_ticket);
#if defined(__SSE__)  /* CuPy compiles with -ftz=true: float32 numbers below 1.2e-38 become 0 */
    unsigned modes = _mm_getcsr();
    _mm_setcsr(modes | 0x8040);
#endif
    const char *problem = emu_idle ? NULL : kernel->run(grid, (void **)arguments);
#if defined(__SSE__)
    _mm_setcsr(modes);
#endif
    return problem ? fail(problem) : none();
}

void *emu_launch_cooperative(intptr_t function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                             unsigned bz, unsigned shared_bytes, intptr_t stream, intptr_t arguments, int skip)
{
    return fail("cupyemu: cooperative launches are not emulated");
}
