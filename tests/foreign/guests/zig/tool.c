// The program of every toolchain, in C on wasi-libc: see README.md.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int cat(void) {
    static char piece[65536];
    size_t size;
    while ((size = fread(piece, 1, sizeof piece, stdin)) > 0) {
        if (fwrite(piece, 1, size, stdout) != size) {
            return 1;
        }
    }
    return ferror(stdin) || fflush(stdout);
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// Every word is an allocation, so that the allocator has work to do.
static int words(void) {
    size_t all = 0, room = 16, different = 0;
    char **seen = malloc(room * sizeof *seen);
    static char word[4096];
    while (scanf("%4095s", word) == 1) {
        if (all == room) {
            room *= 2;
            seen = realloc(seen, room * sizeof *seen);
        }
        seen[all++] = strdup(word);
    }
    qsort(seen, all, sizeof *seen, compare);
    for (size_t i = 0; i < all; i++) {
        different += i == 0 || strcmp(seen[i - 1], seen[i]) != 0;
    }
    printf("%zu words, %zu different\n", all, different);
    return 0;
}

static int prompt(void) {
    static char name[4096];
    printf("name? ");
    fflush(stdout);
    if (fgets(name, sizeof name, stdin)) {
        printf("hello %s", name);
    }
    return 0;
}

int main(int count, char **arguments) {
    const char *mode = count > 1 ? arguments[1] : "";
    if (strcmp(mode, "cat") == 0) {
        return cat();
    }
    if (strcmp(mode, "words") == 0) {
        return words();
    }
    if (strcmp(mode, "prompt") == 0) {
        return prompt();
    }
    if (strcmp(mode, "lines") == 0) {
        for (int i = 0; i < atoi(arguments[2]); i++) {
            printf("line %d\n", i);
        }
        return 0;
    }
    if (strcmp(mode, "given") == 0) {
        for (int i = 2; i < count; i++) {
            printf("argument %s\n", arguments[i]);
        }
        const char *greeting = getenv("GREETING");
        printf("greeting %s\n", greeting ? greeting : "");
        return 0;
    }
    if (strcmp(mode, "exit") == 0) {
        return atoi(arguments[2]);
    }
    abort();
}
