// Browsers refuse workers to pages that are opened as files. The search of such a page runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #frame = Object.assign(document.createElement("iframe"), { hidden: true, srcdoc: "" });
    #inside;

    constructor(url) {
      super();
      this.#inside = new Promise((found, failed) => {
        this.#frame.onload = () => {
          const inside = this.#frame.contentWindow;
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          const script = Object.assign(inside.document.createElement("script"), { src: url, onerror: failed });
          script.onload = () => found(inside);
          inside.document.head.append(script);
        };
      });
      document.documentElement.append(this.#frame);
    }

    async postMessage(data) {
      const inside = await this.#inside;
      inside.dispatchEvent(new MessageEvent("message", { data }));
    }

    terminate() {
      this.#frame.remove();
    }
  };
}
