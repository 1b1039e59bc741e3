// Values under the pointer, in one small box for the whole page.

const tip = {
  // Show rows [label, value, colour] below a title, beside a place on the screen.
  show(x, y, title, rows = []) {
    this.box ??= document.getElementById("tip");
    this.box.replaceChildren(element("b", {}, title), ...rows.map(([label, value, colour]) => {
      const mark = element("i", { style: `background: ${colour ?? "transparent"}` });
      return element("span", {}, mark, `${label} `, element("b", {}, value));
    }));
    this.box.hidden = false;
    const { width, height } = this.box.getBoundingClientRect();
    const left = x + 14 + width > innerWidth ? x - 14 - width : x + 14;
    this.box.style.left = `${Math.max(left, 4)}px`;
    this.box.style.top = `${Math.min(Math.max(y - height - 8, 4), innerHeight - height - 4)}px`;
  },

  hide() {
    if (this.box) this.box.hidden = true;
  },
};
