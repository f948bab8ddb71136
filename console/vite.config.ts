import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// The page runs under a policy without inline script, inline style, data: or
// eval, so nothing is inlined and no preload helper is injected.
export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: true,
    reportCompressedSize: false,
    emptyOutDir: true,
  },
  server: { proxy: { '/api': { target: process.env.API ?? 'https://localhost:8443', secure: false, ws: true, changeOrigin: false } } },
  test: { include: ['src/**/*.test.ts', 'test/*.test.ts'] },
} as Parameters<typeof defineConfig>[0]);
