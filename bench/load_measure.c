/* load_measure.c - latency histograms, and the CPU and memory of other processes out of /proc. */
#define _GNU_SOURCE
#include "load.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct histogram delivery_latency, answer_latency;

enum {
    BUCKETS = sizeof delivery_latency.buckets / sizeof delivery_latency.buckets[0],
    EXACT = 128, /* below this a bucket is one microsecond wide */
};

static int bucket_of(uint64_t us)
{
    if (us < EXACT)
        return (int)us;
    int power = 63 - __builtin_clzll(us); /* 7 and up */
    int step = (int)(us >> (power - 6)) & 63;
    int bucket = EXACT + (power - 7) * 64 + step;
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static uint64_t bucket_floor(int bucket)
{
    if (bucket < EXACT)
        return (uint64_t)bucket;
    int power = (bucket - EXACT) / 64 + 7;
    uint64_t step = (uint64_t)((bucket - EXACT) % 64);
    return ((uint64_t)1 << power) + (step << (power - 6));
}

void histogram_reset(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

void histogram_add(struct histogram *histogram, uint64_t nanoseconds)
{
    uint64_t us = nanoseconds / 1000;
    histogram->buckets[bucket_of(us)]++;
    if (us > histogram->max)
        histogram->max = us;
}

uint64_t histogram_percentile(const struct histogram *histogram, double share)
{
    uint64_t total = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++)
        total += histogram->buckets[i];
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= share * (double)total)
            return bucket_floor(i);
    }
    return 0;
}

/* Adds one thread's "run_ns wait_ns timeslices". */
static void add_schedstat(const char *path, struct cpu *sum)
{
    uint64_t run, wait;
    FILE *file = fopen(path, "r");
    if (!file)
        return;
    if (fscanf(file, "%" SCNu64 " %" SCNu64, &run, &wait) == 2) {
        sum->run_ns += run;
        sum->wait_ns += wait;
    }
    fclose(file);
}

/* Sums the threads that exist now: the leader's own schedstat leaves the others out, and /proc/PID/stat counts in
   ticks of 10 ms. A thread that ends takes its time with it, so take differences over short spans. */
struct cpu cpu_of(const struct pid_list *list)
{
    struct cpu sum = {0, 0};
    for (int i = 0; i < list->count; i++) {
        char folder[64], path[400];
        struct dirent *entry;
        snprintf(folder, sizeof folder, "/proc/%d/task", list->pids[i]);
        DIR *tasks = opendir(folder);
        if (!tasks)
            continue;
        while ((entry = readdir(tasks))) {
            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s/schedstat", folder, entry->d_name);
            add_schedstat(path, &sum);
        }
        closedir(tasks);
    }
    return sum;
}

uint64_t cpu_of_self_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

double rss_mb(const struct pid_list *list)
{
    long kb = 0;
    for (int i = 0; i < list->count; i++) {
        char path[64], line[256];
        long value;
        snprintf(path, sizeof path, "/proc/%d/status", list->pids[i]);
        FILE *file = fopen(path, "r");
        if (!file)
            continue;
        while (fgets(line, sizeof line, file))
            if (sscanf(line, "VmRSS: %ld", &value) == 1)
                kb += value;
        fclose(file);
    }
    return (double)kb / 1024;
}
